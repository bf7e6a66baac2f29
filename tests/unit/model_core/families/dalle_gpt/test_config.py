"""Published configurations → sizes; what is not implemented is refused by its name."""

import json

import pytest

from model_core import families
from model_core.errors import CorruptCheckpoint, UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.families.dalle_gpt.config import from_dict
from tests.unit.model_core.families.dalle_gpt.configs import DALLE_PYTORCH, MINDALLE, RUDALLE, changed

TAMING = {"params": {"n_embed": 64, "ddconfig": {"resolution": 256, "attn_resolutions": [16]}}}


def test_grids_and_texts():
    assert from_dict(DALLE_PYTORCH).grid == from_dict(RUDALLE).grid == from_dict(MINDALLE).grid == Grid(4, 4, 11)
    assert from_dict(DALLE_PYTORCH).condition_shape == (4,)
    lengths = [
        from_dict(raw).stream_text for raw in (DALLE_PYTORCH, RUDALLE, changed(RUDALLE, hf_version="v2"), MINDALLE)
    ]
    assert lengths == [5, 4, 5, 4]


@pytest.mark.parametrize(
    ("codec", "grid"),
    [
        ({"vae_class_name": "OpenAIDiscreteVAE", "vae_params": None}, Grid(32, 32, 8192)),
        ({"vae_class_name": "VQGanVAE", "vae_config": {"model": TAMING}}, Grid(16, 16, 64)),
        ({"vae_class_name": "VQGanVAE", "vae_config": {"model": TAMING}, "vae_image_size": 32}, Grid(2, 2, 64)),
    ],
)
def test_the_codec_tells_the_grid(codec, grid):
    assert from_dict({**DALLE_PYTORCH, **codec}).grid == grid


def test_what_old_files_do_not_say_they_do_not_have():
    hparams = {key: DALLE_PYTORCH["hparams"][key] for key in ("num_text_tokens", "text_seq_len", "dim", "depth")}
    config = from_dict(DALLE_PYTORCH | {"hparams": hparams})
    assert not (config.is_rotary or config.shifts or config.is_reversible)
    assert (config.heads, config.head_size, config.attention) == (8, 64, ("full",) * 4)
    assert config.text_positions == 5


def test_kinds_of_attention_and_shared_layers_are_repeated_over_the_depth():
    raw = changed(DALLE_PYTORCH, depth=5, attn_types=["full", "axial_row"], shared_ff_ids=[7, 7, "x"])
    config = from_dict(raw)
    assert config.attention == ("full", "axial_row", "full", "axial_row", "full")
    assert (config.attention_of, config.feed_forward_of) == ((0, 1, 2, 3, 4), (0, 0, 2, 0, 0))


def test_rudalle_s_last_layer_looks_around():
    kinds = from_dict(changed(RUDALLE, num_layers=7)).attention
    assert kinds == ("row", "axial_col", "row", "row", "row", "axial_col", "conv")
    assert from_dict(changed(RUDALLE, num_layers=2, hf_version="v2")).attention == ("row", "axial_col")


@pytest.mark.parametrize(
    ("raw", "sampling"),
    [
        (RUDALLE, (1.0, 1.0, 2048, 0.995)),
        (MINDALLE, (1.0, 1.0, 256, 1.0)),
        (DALLE_PYTORCH, (1.0, 1.0, 3, 1.0)),  # a tenth of 20 + 4 + 11 ids
        (changed(DALLE_PYTORCH, num_text_tokens=10_000), (1.0, 1.0, 0, 1.0)),  # more than there are codes
    ],
)
def test_what_is_drawn_unless_told_otherwise(raw, sampling):
    assert tuple(from_dict(raw).default_sampling.values()) == sampling
    assert from_dict(raw).guides == (raw["layout"] == "dalle_pytorch")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (changed(DALLE_PYTORCH, attn_types=["full", "sparse"]), "'sparse' is not implemented. Its random blocks"),
        (changed(DALLE_PYTORCH, attn_types="mlp"), "'mlp' is not implemented"),
        (changed(DALLE_PYTORCH, sparse_attn=True), "sparse_attn is not implemented"),
        (changed(DALLE_PYTORCH, depth=0), "depth is 0"),
        (changed(DALLE_PYTORCH, dim=None), "hparams in config.json lacks dim"),
        (changed(DALLE_PYTORCH, shared_attn_ids=[0]), "different attn_types"),
        (changed(DALLE_PYTORCH, shared_ff_ids=[[]]), "shared_ff_ids"),
        (changed(DALLE_PYTORCH, vae_class_name="Other"), "vae_class_name is 'Other'"),
        (changed(DALLE_PYTORCH, num_layers=5), "image_size is 16, which 32 does not divide"),
        (changed(DALLE_PYTORCH, num_layers=10**9), "image_size is 16, which"),
        ({**DALLE_PYTORCH, "hparams": None}, "no object hparams"),
        (
            {**DALLE_PYTORCH, "vae_class_name": "VQGanVAE", "vae_config": {"model": {"params": {"ddconfig": {}}}}},
            "lacks",
        ),
        (changed(RUDALLE, hf_version="v4"), "hf_version is 'v4'"),
        (changed(RUDALLE, num_attention_heads=3), "hidden_size is 16, which 3 does not divide"),
        (changed(RUDALLE, vocab_size=4), "each pad has an id"),
        (changed(RUDALLE, mlp_activation="relu"), "'relu' is not implemented"),
        (changed(MINDALLE, n_classes=10), "n_classes 10 is not implemented"),
        (changed(MINDALLE, ctx_len_img=15), "square of an integer"),
        (changed(MINDALLE, type="igpt"), "type 'igpt' is not implemented"),
        ({**MINDALLE, "layout": ["x"]}, "one of dalle_pytorch, rudalle, mindalle"),
        ({**MINDALLE, "model_type": "other"}, "model_type 'other'"),
    ],
)
def test_others_are_refused(raw, message):
    with pytest.raises(UnsupportedConfig, match=message):
        from_dict(raw)


def test_a_folder_is_read_by_its_model_type(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(RUDALLE))
    assert families.read_config(tmp_path) == from_dict(RUDALLE)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CorruptCheckpoint):
        families.read_config(tmp_path)
