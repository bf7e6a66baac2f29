"""What each kind of codec says of itself, for any weights."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.codecs import discrete_vae, openai_dvae, vqgan
from model_core.errors import InvalidValue, UnsupportedConfig
from model_core.training.codecs import discrete_vae as discrete_vae_training
from model_core.training.codecs import openai_dvae as openai_dvae_training
from model_core.training.codecs.kinds import KINDS, kind_of, name_of
from model_core.training.codecs.recipes import DiscreteVAERecipe, RelaxedRecipe
from tests.unit.model_core.training.codecs.tiny import CONFIGS

CODECS: dict[str, Any] = {"vqgan": vqgan, "gumbel": vqgan, "discrete_vae": discrete_vae, "openai_dvae": openai_dvae}


def random_params(name: str) -> Any:
    rng = np.random.default_rng(0)
    shapes = CODECS[name].param_shapes(CONFIGS[name])
    return jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32), shapes)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_codecs_configuration_tells_its_kind_and_where_pixels_are_made(name: str):
    config = CONFIGS[name]
    assert name_of(config) == name
    kind, params = kind_of(config), CODECS[name].param_shapes(config)
    assert set(kind.DECODER_PARTS) < set(params)
    for place in kind.last_layer(config):
        params = params[place]
    assert params.shape[-1] == (6 if name == "openai_dvae" else 3)


@pytest.mark.parametrize("blocks", [0, 2])
def test_a_discrete_vaes_last_layer_is_found_behind_its_blocks(blocks: int):
    config = replace(CONFIGS["discrete_vae"], num_resnet_blocks=blocks)
    assert discrete_vae_training.last_layer(config)[1] == max(discrete_vae.param_shapes(config)["decoder"], key=int)


@pytest.mark.parametrize(  # VQGANs draw alike
    "name", ["gumbel", "discrete_vae", pytest.param("openai_dvae", marks=pytest.mark.exhaustive)]
)
def test_what_is_drawn_of_codes_is_what_the_codec_decodes(name: str):
    config, params = CONFIGS[name], random_params(name)
    codes = np.random.default_rng(1).integers(config.grid.codebook, size=(1, config.grid.num_codes))
    kind = kind_of(config)
    drawn = jax.jit(lambda params, grids: kind.picture(kind.draw(config, params, grids)))(
        params, codes.reshape(1, config.grid.rows, config.grid.columns)
    )
    np.testing.assert_allclose(drawn, CODECS[name].decode(config, params, codes), atol=1e-5)


def test_weights_of_one_code_alone_are_drawn_as_that_code():
    params = random_params("openai_dvae")
    codes = jnp.arange(4).reshape(1, 2, 2)
    layer = openai_dvae.FirstLayer(8, 4)
    hard, soft = (
        layer.apply({"params": params["decoder"]["input"]}, each) for each in (codes, jax.nn.one_hot(codes, 8))
    )
    np.testing.assert_allclose(hard, soft, atol=1e-6)


def test_codes_of_another_kind_are_named_and_refused():
    with pytest.raises(UnsupportedConfig, match=r"a VQGAN with lookup nearest_direction\..*lookup nearest or gumbel"):
        name_of(replace(CONFIGS["vqgan"], lookup="nearest_direction"))
    with pytest.raises(UnsupportedConfig, match="a NoneType"):
        name_of(None)
    assert set(KINDS) == set(CONFIGS)


def test_a_logit_laplace_is_a_density_and_likes_its_own_middle_best():
    """Its integral over 0.1…0.9 is that of a whole one but for the tails, which a spread of 0.1 does not have."""
    values = np.linspace(0, 1, 4001, dtype=np.float32)
    pixels = jnp.asarray(values).reshape(-1, 1, 1, 1).repeat(3, axis=-1)

    def log_density(pixels: jax.Array, middle: float, log_spread: float) -> np.ndarray:
        out = jnp.concatenate([jnp.full((1, 1, 1, 3), middle), jnp.full((1, 1, 1, 3), log_spread)], axis=-1)
        return -np.asarray(jax.vmap(lambda one: openai_dvae_training.loss(RelaxedRecipe(), out, one[None]))(pixels))

    logs = log_density(pixels, 0.5, np.log(0.1))
    assert np.trapezoid(np.exp(logs), 0.8 * values + 0.1) == pytest.approx(1, rel=1e-2)
    middle = (1 / (1 + np.exp(-0.5)) - 0.1) / 0.8
    assert values[logs.argmax()] == pytest.approx(middle, abs=0.02)


def test_a_discrete_vaes_losses_are_of_pixels_in_minus_one_to_one():
    got, want = jnp.full((1, 2, 2, 3), 0.7), jnp.full((1, 2, 2, 3), 0.2)  # 1 apart
    assert float(discrete_vae_training.loss(DiscreteVAERecipe(), got, want)) == pytest.approx(1)
    assert float(discrete_vae_training.loss(DiscreteVAERecipe(loss="smooth_l1"), got, want)) == pytest.approx(0.5)
    with pytest.raises(InvalidValue, match="loss is 'l3'; there are mse, smooth_l1"):
        discrete_vae_training.loss(DiscreteVAERecipe(loss="l3"), got, want)
