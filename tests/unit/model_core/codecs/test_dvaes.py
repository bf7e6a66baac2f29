"""OpenAI's dVAE and DALLE-pytorch's DiscreteVAE: shapes, and what they refuse. tests/parity compares their numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.codecs import discrete_vae, openai_dvae
from model_core.codecs.discrete_vae_config import DiscreteVAEConfig
from model_core.codecs.openai_dvae_config import OpenAIDVAEConfig
from model_core.errors import InvalidValue, UnsupportedConfig
from model_core.families.conditions import Grid

OPENAI = {"resolution": 16, "encoder": {"n_hid": 4, "n_blk_per_group": 1, "vocab_size": 12},
          "decoder": {"n_hid": 4, "n_init": 5, "n_blk_per_group": 2, "vocab_size": 12}}  # fmt: skip
DISCRETE = {
    "image_size": 16,
    "num_layers": 2,
    "num_tokens": 12,
    "codebook_dim": 6,
    "hidden_dim": 4,
    "num_resnet_blocks": 1,
}


@pytest.mark.parametrize(
    ("codec", "config", "grid"),
    [
        (openai_dvae, OpenAIDVAEConfig.from_dict(OPENAI), Grid(2, 2, 12)),
        (discrete_vae, DiscreteVAEConfig.from_dict(DISCRETE), Grid(4, 4, 12)),
    ],
)
def test_codes_and_pictures_have_the_shapes_that_the_configuration_says(codec, config, grid):
    assert (config.grid, config.size, config.round_pixels) == (grid, (16, 16), False)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), codec.param_shapes(config)
    )
    pixels = rng.random((3, 16, 16, 3), np.float32)
    codes = codec.encode(config, params, pixels)
    assert (codes.shape, codes.dtype) == ((3, grid.num_codes), np.int32)
    decoded = codec.decode(config, params, codes)
    assert (decoded.shape, decoded.dtype) == (pixels.shape, np.float32)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    assert codec.decode(config, half, codes).dtype == np.float32
    with pytest.raises(InvalidValue, match=r"\[B, 16, 16, 3\]"):
        codec.encode(config, params, pixels[:, :8])
    with pytest.raises(InvalidValue, match=rf"{grid.num_codes} codes; got 3"):
        codec.decode(config, params, codes[:, :3])


def test_the_published_sizes_are_the_defaults():
    config = OpenAIDVAEConfig.from_dict({"encoder": {}, "decoder": {}})
    assert (config, config.grid) == (OpenAIDVAEConfig(), Grid(32, 32, 8192))
    assert DiscreteVAEConfig.from_dict({"image_size": 256}).grid == Grid(32, 32, 512)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": None}, "encoder is None; it must be an object"),
        ({"decoder": 3}, "decoder is 3; it must be an object"),
        ({"resolution": 12}, "resolution is 12; it must be a multiple of 8"),
        ({"resolution": "256"}, "resolution is '256'; it must be an integer"),
        ({"encoder": OPENAI["encoder"] | {"group_count": 3}}, r"encoder\.group_count is 3; only 4 is supported"),
        ({"encoder": OPENAI["encoder"] | {"n_hid": 6}}, r"encoder\.n_hid is 6; it must be a multiple of 4"),
        ({"encoder": OPENAI["encoder"] | {"n_hid": 0}}, r"encoder\.n_hid is 0; it must be an integer"),
        ({"encoder": OPENAI["encoder"] | {"vocab_size": 13}}, r"decoder\.vocab_size is 12; only 13 is supported"),
        ({"decoder": OPENAI["decoder"] | {"output_channels": 1}}, r"decoder\.output_channels is 1; only 3"),
    ],
)
def test_a_dvae_that_is_not_openai_s_is_refused_by_name(changes, message):
    with pytest.raises(UnsupportedConfig, match=message):
        OpenAIDVAEConfig.from_dict(OPENAI | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 1}, "channels is 1; only 3 is supported"),
        ({"normalization": None}, "normalization is None; only"),
        ({"num_resnet_blocks": -1}, "num_resnet_blocks is -1; it must be an integer from 0"),
        ({"num_tokens": 0}, "num_tokens is 0; it must be an integer from 1"),
        ({"image_size": 18}, r"image_size is 18; it must be a multiple of 2 \*\* 2"),
        ({"num_layers": 99}, "16 times at most"),
        ({"hidden_dim": True}, "hidden_dim is True; it must be an integer"),
    ],
)
def test_a_discrete_vae_that_is_not_implemented_is_refused_by_name(changes, message):
    with pytest.raises(UnsupportedConfig, match=message):
        DiscreteVAEConfig.from_dict(DISCRETE | changes)
