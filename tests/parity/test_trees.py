"""The full-size public models have exactly the recorded parameters, by name and shape."""

import re
from pathlib import Path

import pytest
from flax import traverse_util

from model_core.codecs import openai_dvae, vqgan
from model_core.codecs.openai_dvae_config import OpenAIDVAEConfig
from model_core.codecs.vqgan_published import as_flat, from_taming
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart import layout
from model_core.scorers import clip
from model_core.weights.weight_files import Part, StoredArray

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


def read_torch_tree(name: str, prefix: str = "") -> dict[str, StoredArray]:
    """A list of PyTorch's names and shapes, as the index of a file."""
    index = {}
    for line in (TREES / name).read_text().splitlines():
        if not line.startswith("#"):
            leaf, shape = line.split("\t" if "\t" in line else " (", 1)
            shape = [int(side) for side in re.findall(r"\d+", shape.split(")")[0].split("\t")[0])]
            index[prefix + leaf] = StoredArray(shape=tuple(shape), parts=(Part(0, 0, "float32"),))
    return index


def laid_out(codec, index: dict[str, StoredArray]) -> Shapes:
    return {name: array.final_shape for name, array in codec.layout(Path("model.safetensors"), index, {}).items()}


def taming_config(n_embed: int, target: str, ch_mult: list[int], attention: int) -> dict:
    network = {
        name: VQGAN[name] for name in ("ch", "num_res_blocks", "resolution", "in_channels", "out_ch", "z_channels")
    }
    network |= {"ch_mult": ch_mult, "attn_resolutions": [attention], "double_z": False, "dropout": 0.0}
    return {"model": {"target": target, "params": {"embed_dim": 256, "n_embed": n_embed, "ddconfig": network}}}


F8 = taming_config(8192, "taming.models.vqgan.GumbelVQ", [1, 1, 2, 4], 32)
LLAMAGEN = {"codebook_size": 16384, "codebook_embed_dim": 8, "z_channels": 256, "resolution": 256} | {
    f"{side}_ch_mult": [1, 1, 2, 2, 4] for side in ("encoder", "decoder")
}


@pytest.mark.parametrize(
    ("flat", "tree"),
    [
        (from_taming(taming_config(1024, "VQModel", [1, 1, 2, 2, 4], 16)), "taming_vqgan_imagenet_f16_1024.txt"),
        (from_taming(F8), "taming_vqgan_gumbel_f8_8192.txt"),
        (from_taming(F8, wavelet=True), "rudalle_vqgan_dwt.txt"),
        (as_flat(LLAMAGEN), "llamagen_vq16.txt"),
    ],
)
def test_vqgans_of_pytorch(flat, tree):
    config = vqgan.VQGANConfig.from_dict(flat)
    assert laid_out(vqgan, read_torch_tree(tree)) == shapes_of(vqgan.param_shapes(config))


def test_deepseek_s_codec_inside_the_whole_model():
    index = read_torch_tree("llamagen_vq16.txt", "gen_vision_model.")
    index["language_model.lm_head.weight"] = StoredArray(shape=(1, 1), parts=(Part(0, 1, "float32"),))
    config = vqgan.VQGANConfig.from_dict(as_flat(LLAMAGEN))
    assert laid_out(vqgan, index) == shapes_of(vqgan.param_shapes(config))


def test_openai_s_dvae():
    index = read_torch_tree("openai_dvae_encoder.txt", "encoder.") | read_torch_tree(
        "openai_dvae_decoder.txt", "decoder."
    )
    assert laid_out(openai_dvae, index) == shapes_of(openai_dvae.param_shapes(OpenAIDVAEConfig()))
