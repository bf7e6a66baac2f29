"""The VQGAN: shapes, and what it refuses. tests/parity compares its numbers with the reference."""

import numpy as np
import pytest

from model_core import codecs
from model_core.codecs import vqgan
from model_core.errors import InvalidValue, UnsupportedConfig
from model_core.families.conditions import Grid


@pytest.fixture(scope="module")
def loaded(fixtures):
    return codecs.load(fixtures / "vqgan-tiny")


def test_codes_and_pictures_have_the_shapes_that_the_configuration_says(loaded):
    codec, config, params = loaded
    assert codec is vqgan
    assert (config.grid, config.size) == (Grid(8, 8, 64), (32, 32))
    codes = codec.encode(config, params, np.zeros((2, 32, 32, 3), np.float32))
    assert (codes.shape, codes.dtype) == ((2, 64), np.int32)
    pixels = codec.decode(config, params, codes)
    assert (pixels.shape, pixels.dtype) == ((2, 32, 32, 3), np.float32)


def test_other_sizes_are_refused(loaded):
    codec, config, params = loaded
    with pytest.raises(InvalidValue, match=r"8 × 8 = 64 codes; got 16"):
        codec.decode(config, params, np.zeros((1, 16), np.int32))
    with pytest.raises(InvalidValue, match=r"\[B, 32, 32, 3\]"):
        codec.encode(config, params, np.zeros((1, 16, 16, 3), np.float32))


SIZES = {"resolution": 8, "n_embed": 4, "embed_dim": 4, "z_channels": 4, "ch": 32, "num_res_blocks": 1}
RAW = SIZES | {"ch_mult": [1], "attn_resolutions": []}


@pytest.mark.parametrize(("changes", "message"), [({"double_z": True}, "double_z=True"), ({"ch": 33}, "ch=33")])
def test_what_is_not_implemented_is_refused_by_name(changes, message):
    with pytest.raises(UnsupportedConfig, match=message):
        vqgan.VQGANConfig.from_dict(RAW | changes)


@pytest.mark.parametrize("name", RAW)
def test_a_size_that_is_missing_is_named(name):
    with pytest.raises(UnsupportedConfig, match=f"missing {name}"):
        vqgan.VQGANConfig.from_dict({key: value for key, value in RAW.items() if key != name})


@pytest.mark.parametrize("value", [0, -1, 1.5, 8.0, "8", True, None, [8], 2**31, 10**400, float("nan"), {}])
@pytest.mark.parametrize("name", [*SIZES, "norm_num_groups"])
def test_a_size_that_is_none_is_refused_with_what_is_allowed(name, value):
    with pytest.raises(UnsupportedConfig, match=f"{name} is .*must be an integer from 1 to 2147483647") as error:
        vqgan.VQGANConfig.from_dict(RAW | {name: value})
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ch_mult": []}, "ch_mult is .*a list of integers"),
        ({"ch_mult": 4}, "ch_mult is 4; it must be a list"),
        ({"ch_mult": "12"}, "ch_mult is '12'; it must be a list"),
        ({"ch_mult": [1, "2"]}, r"ch_mult\[1\] is '2'; it must be an integer"),
        ({"ch_mult": [1, 0]}, r"ch_mult\[1\] is 0"),
        ({"ch_mult": [1] * 5}, "resolution is 8; it must be a multiple of"),
        ({"attn_resolutions": None}, "attn_resolutions is None; it must be a list"),
        ({"attn_resolutions": [8.0]}, r"attn_resolutions\[0\] is 8\.0"),
        ({"resamp_with_conv": "false"}, "resamp_with_conv is 'false'; it must be true or false"),
        ({"resamp_with_conv": 1}, "resamp_with_conv is 1"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_what_is_allowed(changes, message):
    with pytest.raises(UnsupportedConfig, match=message):
        vqgan.VQGANConfig.from_dict(RAW | changes)
