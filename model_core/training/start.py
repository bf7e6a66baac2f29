"""What a training run starts from: a model that is there already, rather than random parameters.

`start/` in the run's folder is a copy of that model; `model/` begins as another, whose parts training replaces. A model
of any family may be one; a codec of a kind that is not trained here spells pictures all the same.
"""

import json
from dataclasses import fields, replace
from pathlib import Path

from model_core import bundles, codecs, families, scorers
from model_core.bundles import FILES, FOLDERS, ROLES, Bundle
from model_core.errors import InvalidValue
from model_core.training.codecs.kinds import name_of
from model_core.training.presets import Preset

# In `start/`: files that say which parts begin with random parameters.
FRESH = {"sampler": "fresh.txt", "codec": "fresh_codec.txt"}


def start_from(model: str, run: Path, *, fresh: bool = False, fresh_codec: bool = False) -> None:
    """Makes the folder of a run that goes on from `model`, a name as `bundles.resolve` takes it.

    Args:
      fresh: what draws codes keeps its sizes and its tokenizer only.
      fresh_codec: the codec keeps its sizes only; it must be of a kind that is trained here.

    Raises:
      InvalidValue: the folder is there already, and not empty.
      ModelNotFound, CorruptCheckpoint: as in `bundles.resolve`.
      UnsupportedConfig: a fresh codec of its kind is not trained here.
    """
    bundle = bundles.resolve(model)
    if fresh_codec:
        name_of(codecs.read_config(bundle.codec))
    if run.exists() and any(run.iterdir()):
        raise InvalidValue(f"{run} is not empty; a run starts from a model in a folder of its own.", "run")
    bundle.copy_parts(run / "model")
    bundle.copy_parts(run / "start")
    card = {field.name: getattr(bundle, field.name) for field in fields(bundle) if field.name not in {*ROLES, *FILES}}
    card["parts"] = parts_of(bundle)
    for role, is_fresh in (("sampler", fresh), ("codec", fresh_codec)):
        if is_fresh:
            (run / "start" / FRESH[role]).write_text(f"The {role} begins with random parameters.\n", encoding="utf-8")
    (run / "start" / "model.json").write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def parts_of(bundle: Bundle) -> dict[str, str]:
    """Where `copy_parts` puts each part, for model.json."""
    return {role: FOLDERS.get(role, role) for role in bundle.parts}


def start_of(run: Path) -> Bundle | None:
    """The model that a run started from; None if that was random parameters."""
    folder = run / "start"
    return bundles.resolve(folder) if folder.is_dir() else None


def with_sizes_of(start: Bundle, preset: Preset) -> Preset:
    """The preset's recipes, for a model of the same sizes as `start`, and drawn from alike."""
    return replace(
        preset,
        dalle_bart=families.read_config(start.sampler),
        vqgan=codecs.read_config(start.codec),
        clip=scorers.read_config(start.scorer) if start.scorer else preset.clip,
        sampling=start.sampling,
    )
