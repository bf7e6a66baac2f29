"""Draws with a small Janus on one device and on all, loaded in pieces from several files. Run by test_blocks.py."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from flax import traverse_util
from safetensors.numpy import save_file

from model_core.families.conditions import Condition
from model_core.families.llama.janus import family
from model_core.families.llama.janus.layout import NAMES
from model_core.families.llama.layout import published_shapes
from model_core.sampler.rows import Rows, draw_all
from model_core.sampler.sequence import Sampling, Sequence
from model_core.weights import checkpoint, sharding

TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 16}
TEXT |= {"num_key_value_heads": 8, "head_dim": 4, "vocab_size": 40, "max_position_embeddings": 64}
CONFIG = {
    "model_type": "janus",
    "text_config": TEXT,
    "vq_config": {"num_embeddings": 24},
    "vision_config": {"image_size": 12, "patch_size": 4, "num_image_tokens": 9},
}


def write(folder: Path) -> None:
    """Random weights in two files, as PyTorch names them."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    shapes = traverse_util.flatten_dict(family.param_shapes(family.read_config(folder)), sep="/")
    rng, named = np.random.default_rng(0), published_shapes({name: leaf.shape for name, leaf in shapes.items()}, NAMES)
    arrays = {name: (rng.normal(size=shape) * 0.4).astype(np.float32) for name, shape in named.items()}
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(arrays)}
    for file in set(files.values()):
        save_file({name: array for name, array in arrays.items() if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


def draw(rows: Rows) -> list[list[int]]:
    """Two images with guidance and one without."""
    ids, length = np.random.default_rng(1).integers(40, size=(2, *rows._model.config.condition_shape)), 12
    mask = (np.arange(ids.shape[1]) >= ids.shape[1] - length).astype(np.int32)
    prompt, nothing = (Condition(row.astype(np.int32), mask) for row in ids)
    images = [
        Sequence(condition=prompt, uncondition=nothing, seed=seed, sampling=Sampling(guidance_scale=scale))
        for seed, scale in enumerate((5.0, 2.0, 1.0))
    ]
    for _ in draw_all(rows, images):
        pass
    assert rows.num_near_ties == 0  # so that rounding decides nothing
    return [image.codes.tolist() for image in images]


def main(folder: Path) -> None:
    write(folder)
    mesh = sharding.make_mesh()
    config, whole = checkpoint.load(family, folder)
    _, cut = checkpoint.load(family, folder, place=family.cutting(sharding.placer(mesh, family.CUT_AXES)))
    kept = [
        Rows(family, config, family.step_weights(params), max_rows=2, deterministic=is_one)
        for params, is_one in ((whole, True), (cut, False))
    ]
    kept[1].warm_up()
    codes, sharded = map(draw, kept)
    layer, cache = cut["layers"]["1"], kept[1]._drawing.state.cache[0][0].keys
    print(
        json.dumps(
            {
                "devices": mesh.size,
                "codes": codes,
                "sharded_codes": sharded,
                "compiles_after_warm_up": kept[1].compiles.count,
                "shares": {name: share(layer[name]) for name in ("qkv", "out", "gate_up", "down")},
                "share_of_cache": share(cache),
            }
        )
    )


def share(array: jax.Array) -> float:
    """Of one device."""
    return array.addressable_shards[0].data.nbytes / array.nbytes


if __name__ == "__main__":
    main(Path(sys.argv[1]))
