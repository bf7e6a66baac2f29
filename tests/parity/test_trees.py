"""The full-size public models have exactly the recorded parameters, by name and shape."""

from pathlib import Path

import pytest
from flax import traverse_util

from model_core.codecs import vqgan
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart import layout
from model_core.scorers import clip

TREES = Path(__file__).parent / "fixtures" / "trees"
Shapes = dict[str, tuple[int, ...]]


def read_tree(name: str) -> Shapes:
    shapes = {}
    for line in (TREES / name).read_text().splitlines():
        if not line.startswith("#"):
            leaf, shape, _ = line.split("\t")
            shapes[leaf] = () if shape == "scalar" else tuple(int(side) for side in shape.split("x"))
    return shapes


def shapes_of(params: dict) -> Shapes:
    return {name: leaf.shape for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}


def dalle_config(layers: int, d_model: int, ffn_dim: int, image_vocab_size: int, vocab: int) -> dict:
    sides = ("encoder", "decoder")
    return {
        **{f"{side}_layers": layers for side in sides},
        **{f"{side}_attention_heads": d_model // 64 for side in sides},
        **{f"{side}_ffn_dim": ffn_dim for side in sides},
        "d_model": d_model,
        "encoder_vocab_size": vocab,
        "image_vocab_size": image_vocab_size,
        "image_length": 256,
        "max_text_length": 64,
    }


MINI = dalle_config(12, 1024, 2730, 16384, 50264)
MEGA = dalle_config(24, 2048, 4096, 16415, 50272)
VQGAN = {
    "ch": 128,
    "ch_mult": [1, 1, 2, 2, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [16],
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "z_channels": 256,
    "embed_dim": 256,
    "n_embed": 16384,
}
CLIP = {
    "projection_dim": 512,
    "text_config": {
        "vocab_size": 49408,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "max_position_embeddings": 77,
        "eos_token_id": 2,
    },
    "vision_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
    },
}


@pytest.mark.parametrize(("raw", "tree"), [(MINI, "dalle_mini_scanned.txt"), (MEGA, "dalle_mega_scanned.txt")])
def test_dalle_bart(raw, tree):
    config = dalle_bart.DalleBartConfig.from_dict(raw)
    assert shapes_of(dalle_bart.param_shapes(config)) == read_tree(tree)


def test_unrolled_dalle_bart():
    unrolled = layout.unroll_shapes(read_tree("dalle_mini_scanned.txt"))
    recorded = read_tree("dalle_mini_unrolled_layers_0_and_11.txt")
    assert recorded.items() <= unrolled.items()
    assert {name for name in unrolled if "Layer_0/" in name} <= recorded.keys()


def test_vqgan():
    config = vqgan.VQGANConfig.from_dict(VQGAN)
    assert shapes_of(vqgan.param_shapes(config)) == read_tree("vqgan_f16_16384.txt")


def test_clip_with_one_layer_of_each_tower():
    recorded = read_tree("clip_vit_base_patch32_layer_0.txt")
    shapes = shapes_of(clip.param_shapes(clip.CLIPConfig.from_dict(CLIP)))
    assert recorded.items() <= shapes.items()
    layer_free = {
        name.replace("/layers/11/", "/layers/0/") for name in shapes if "/layers/" not in name or "/11/" in name
    }
    assert layer_free == recorded.keys()
