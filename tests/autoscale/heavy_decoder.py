"""Writes a model whose decoder has more to do than its sampler, and a Serve file for it: python heavy_decoder.py FOLDER

With the shipped model a CPU spends nearly all of its time in the sampler, so that nothing else ever has to scale. This
one is the tests' tiny DalleBart, a VQGAN of random weights that is larger than theirs, and the shipped CLIP: what it
draws is noise, but its stages are loaded as on machines whose samplers are fast.
"""

import json
import shutil
import sys
from pathlib import Path

import yaml
from flax import serialization

from model_core import bundles, vqgan
from model_core.bench.models import random_params

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests/parity/fixtures"
SIDE = 128
VQGAN = {"resolution": SIDE, "ch": 32, "ch_mult": [1, 1, 2, 2, 4], "num_resolutions": 5, "num_res_blocks": 2}


def write_model(folder: Path) -> None:
    """Writes the model's parts; 64 codes an image, as the tiny DalleBart draws them."""
    shutil.copytree(FIXTURES / "dalle-tiny", folder / "dalle_bart", ignore=shutil.ignore_patterns("goldens*"))
    clip = bundles.resolve("emoji").clip
    assert clip is not None
    shutil.copytree(clip, folder / "clip")
    config = json.loads((FIXTURES / "vqgan-tiny/config.json").read_text()) | VQGAN
    (folder / "vqgan").mkdir()
    (folder / "vqgan/config.json").write_text(json.dumps(config))
    params = random_params(vqgan.param_shapes(vqgan.VQGANConfig.from_dict(config)), "float32")
    (folder / "vqgan/flax_model.msgpack").write_bytes(serialization.to_bytes(params))
    sampling = {"guidance_scale": 10.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    card = {"id": "heavy", "licence": "Apache-2.0", "size": SIDE, "sampling": sampling, "description": "random weights"}
    (folder / "model.json").write_text(json.dumps(card))


def write_serve_file(path: Path, model: Path) -> None:
    """Writes the settings of cluster/scaling.yaml for this model."""
    content = yaml.safe_load((ROOT / "cluster/scaling.yaml").read_text())
    (served,) = content["applications"][0]["args"]["models"]
    served |= {"id": "heavy", "source": str(model.resolve())}
    path.write_text(yaml.safe_dump(content))


if __name__ == "__main__":
    out = Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    write_model(out / "heavy")
    write_serve_file(out / "scaling.yaml", out / "heavy")
