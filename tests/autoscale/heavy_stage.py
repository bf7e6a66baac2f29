"""Writes a model one of whose later stages has more to do than its sampler, and a Serve file for it.

    python heavy_stage.py decoder|scorer FOLDER

With the shipped model a CPU spends nearly all of its time in the sampler, so that nothing else ever has to scale. This
one is the tests' tiny model with one large network of random weights: what it draws is noise, but its stages are loaded
as on machines whose samplers are fast.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml
from flax import serialization

from model_core import bundles
from model_core.bench.models import random_params
from model_core.codecs import vqgan
from model_core.scorers import clip

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests/parity/fixtures"
SIDE = 128
VQGAN = {"resolution": SIDE, "ch": 32, "ch_mult": [1, 1, 2, 2, 4], "num_resolutions": 5, "num_res_blocks": 2}
VISION = {  # of ViT-B/32
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "image_size": 224,
    "patch_size": 32,
}


def write_model(folder: Path, heavy: str) -> None:
    """Writes the model's parts; 64 codes an image, as the tiny DalleBart draws them."""
    shipped = bundles.resolve("emoji").clip
    assert shipped is not None
    shutil.copytree(FIXTURES / "dalle-tiny", folder / "dalle_bart", ignore=shutil.ignore_patterns("goldens*"))
    shutil.copytree(FIXTURES / "vqgan-tiny", folder / "vqgan", ignore=shutil.ignore_patterns("goldens*"))
    shutil.copytree(shipped, folder / "clip")
    if heavy == "decoder":
        config = _change_config(folder / "vqgan", VQGAN)
        _write_params(folder / "vqgan", vqgan.param_shapes(vqgan.VQGANConfig.from_dict(config)))
    else:
        config = _change_config(folder / "clip", {"vision_config": VISION})
        (folder / "clip/preprocessor_config.json").unlink()  # without it, the published one at the new size
        _write_params(folder / "clip", clip.param_shapes(clip.CLIPConfig.from_dict(config)))
    sampling = {"guidance_scale": 10.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    size = SIDE if heavy == "decoder" else 32
    card = {"id": "heavy", "licence": "Apache-2.0", "size": size, "sampling": sampling, "description": "random weights"}
    (folder / "model.json").write_text(json.dumps(card))


def write_serve_file(path: Path, model: Path) -> None:
    """Writes the settings of cluster/scaling.yaml for this model."""
    content = yaml.safe_load((ROOT / "cluster/scaling.yaml").read_text())
    (served,) = content["applications"][0]["args"]["models"]
    served |= {"id": "heavy", "source": str(model.resolve())}
    path.write_text(yaml.safe_dump(content))


def _change_config(folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    return config


def _write_params(folder: Path, shapes: dict[str, Any]) -> None:
    (folder / "flax_model.msgpack").write_bytes(serialization.to_bytes(random_params(shapes, "float32")))


if __name__ == "__main__":
    stage, out = sys.argv[1], Path(sys.argv[2])
    if stage not in ("decoder", "scorer"):
        sys.exit(f"the heavy stage is {stage!r}; it must be 'decoder' or 'scorer'")
    shutil.rmtree(out, ignore_errors=True)
    write_model(out / "heavy", stage)
    write_serve_file(out / "scaling.yaml", out / "heavy")
