"""Models with random weights, one or two of each family, in the folders that `serve` takes."""

import json
import shutil
from pathlib import Path

from model_core.conversion.convert import convert

FIXTURES = Path(__file__).parents[2] / "parity" / "fixtures"
_PUBLISHED = {"dalle-pytorch": "dp-rotary", "malevich": "rudalle", "mindalle": "mindalle"}


def make_models(folder: Path, *names: str) -> dict[str, Path]:
    """Makes those that are named: janus, llamagen, or one of `_PUBLISHED`; gives their folders, by name."""
    makers = {"janus": _janus, "llamagen": _llamagen}
    for name in names:
        makers.get(name, _converted)(folder / name)
    return {name: folder / name for name in names}


def _converted(folder: Path) -> None:
    """As published, in PyTorch's files, which `convert` makes a folder of."""
    published, fixture = folder.with_name(f"{folder.name}-published"), _PUBLISHED[folder.name]
    kept = shutil.ignore_patterns("goldens*", "model.safetensors")
    shutil.copytree(FIXTURES / fixture, published, ignore=kept)
    if folder.name == "mindalle":  # its codec is another fixture's
        shutil.copy(FIXTURES / "dp-taming" / "vqgan.model.ckpt", published / "stage1_last.ckpt")
    folder.mkdir()
    convert(published, folder, folder.name, None, [])


def _janus(folder: Path) -> None:
    shutil.copytree(FIXTURES / "janus-tiny", folder, ignore=shutil.ignore_patterns("goldens*"))


def _llamagen(folder: Path) -> None:
    shutil.copytree(FIXTURES / "llamagen-tiny", folder, ignore=shutil.ignore_patterns("goldens*", "*.pt"))
    vq = folder / "vq" / "config.json"
    vq.write_text(json.dumps(json.loads(vq.read_text()) | {"resolution": 12}))
    card = {
        "id": "llamagen",
        "licence": "MIT",
        "size": 12,
        "description": "random weights",
        "sampling": {"guidance_scale": 7.5, "temperature": 1.0, "top_k": 1000, "top_p": 1.0},
        "parts": {"sampler": "gpt", "codec": "vq", "text": "t5-ckpt/flan-t5-xl"},
    }
    (folder / "model.json").write_text(json.dumps(card))
