"""The configuration and the tree of parameters."""

import json
from pathlib import Path

import jax
import pytest

from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.families.dalle_bart.family import DalleBartConfig, param_shapes

FIXTURES = Path(__file__).parents[4] / "parity" / "fixtures"
RAW = json.loads((FIXTURES / "dalle-tiny" / "config.json").read_text())
SIZES = {
    "mini": {"d_model": 1024, "layers": 12, "ffn_dim": 2730, "text": 50264, "codes": 16384},
    "mega": {"d_model": 2048, "layers": 24, "ffn_dim": 4096, "text": 50272, "codes": 16415},
}


def published(d_model, layers, ffn_dim, text, codes):
    sides = {"layers": layers, "attention_heads": 16, "ffn_dim": ffn_dim}
    sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()}
    sizes |= {"image_vocab_size": codes, "encoder_vocab_size": text, "image_length": 256, "max_text_length": 64}
    return DalleBartConfig.from_dict(RAW | sizes | {"d_model": d_model, "min_length": 257})


@pytest.mark.parametrize("size", SIZES)
def test_the_tree_is_that_of_the_published_file(size):
    lines = (FIXTURES / "trees" / f"dalle_{size}_scanned.txt").read_text().splitlines()
    expected = {tuple(line.split("\t")) for line in lines if not line.startswith("#")}
    leaves = jax.tree_util.tree_leaves_with_path(param_shapes(published(**SIZES[size])))
    got = {
        ("/".join(key.key for key in path), "x".join(map(str, leaf.shape)), str(leaf.dtype)) for path, leaf in leaves
    }
    assert got == expected


def test_a_published_configuration_is_read():
    config = DalleBartConfig.from_dict(RAW)
    assert (config.d_model, config.decoder_layers, config.image_length) == (32, 3, 64)
    assert (config.decoder_start_token_id, config.eos_token_id, config.logits_width) == (64, 65, 65)
    assert config.grid == Grid(8, 8, 64)
    assert config.condition_shape == (config.max_text_length, 32)


def test_special_ids_default_to_the_one_after_the_codes():
    raw = {key: value for key, value in RAW.items() if not key.endswith("_token_id")}
    config = DalleBartConfig.from_dict(raw)
    assert (config.decoder_start_token_id, config.eos_token_id) == (64, 64)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("activation_function", "relu"),
        ("force_ln_scale", True),
        ("ln_positions", "postln"),
        ("ln_type", "rmsnorm"),
        ("model_type", "bart"),
        ("scale_embedding", True),
        ("sinkhorn_iters", 3),
        ("tie_word_embeddings", True),
        ("use_absolute_position_embeddings", False),
        ("use_bias", True),
        ("use_cosine_attention", True),
        ("use_deepnet_scaling", True),
        ("use_final_ln_decoder", False),
        ("use_final_ln_encoder", False),
        ("use_glu", False),
        ("use_head_scale", True),
        ("use_swin_position_embeddings", True),
        ("min_length", 1),
        ("decoder_start_token_id", 66),
        ("decoder_start_token_id", -1),
        ("decoder_attention_heads", 5),
        ("encoder_layers", 0),
        ("d_model", "32"),
        ("image_length", 64.0),
        ("image_length", 65),
        ("image_vocab_size", True),
        ("max_text_length", None),
        ("image_length", "64"),
        ("image_length", [64]),
        ("encoder_layers", 2**31),
        ("init_std", float("nan")),
        ("init_std", "0.02"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_not_implemented_is_refused_by_name(key, value):
    with pytest.raises(UnsupportedConfig, match=key):
        DalleBartConfig.from_dict(RAW | {key: value})


def test_every_missing_size_is_named():
    raw = {key: value for key, value in RAW.items() if key not in ("d_model", "image_vocab_size")}
    with pytest.raises(UnsupportedConfig, match=r"image_vocab_size.*d_model"):
        DalleBartConfig.from_dict(raw)
