"""Relaxed draws of codes: their limits, their gradient, and how they cool."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.training.codecs import relaxation
from model_core.training.codecs.recipes import DiscreteVAERecipe, GumbelRecipe, RelaxedRecipe

LOGITS = 3 * jax.random.normal(jax.random.key(0), (50, 6))
KEY = jax.random.key(1)


def test_a_cold_draw_is_one_code_and_a_hot_one_all_of_them():
    drawn = (LOGITS + jax.random.gumbel(KEY, LOGITS.shape)).argmax(axis=-1)
    cold = relaxation.relaxed(LOGITS, KEY, 1e-6)
    np.testing.assert_allclose(cold, jax.nn.one_hot(drawn, 6), atol=1e-6)
    assert len(np.unique(drawn)) > 2
    np.testing.assert_allclose(relaxation.relaxed(LOGITS, KEY, 1e6), 1 / 6, atol=1e-4)


def test_without_noise_the_coldest_draw_is_the_code_that_a_picture_is_spelled_with(monkeypatch):
    monkeypatch.setattr(jax.random, "gumbel", lambda key, shape: jnp.zeros(shape))
    cold = relaxation.relaxed(LOGITS, KEY, 1e-6)
    np.testing.assert_array_equal(cold.argmax(axis=-1), LOGITS.argmax(axis=-1))


def test_straight_through_decodes_the_code_drawn_and_has_the_mixtures_gradient():
    weigh = jax.random.normal(jax.random.key(2), LOGITS.shape)

    def total(logits: jax.Array, straight_through: bool) -> tuple[jax.Array, jax.Array]:
        weights = relaxation.relaxed(logits, KEY, 0.5, straight_through=straight_through)
        return jnp.sum(weights * weigh), weights

    (soft, hard) = (jax.grad(total, has_aux=True)(LOGITS, straight_through) for straight_through in (False, True))
    np.testing.assert_allclose(soft[0], hard[0], rtol=1e-6)
    np.testing.assert_allclose(soft[1].sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(hard[1], jax.nn.one_hot(soft[1].argmax(axis=-1), 6), atol=1e-6)


def test_the_kl_is_nothing_for_uniform_logits_and_all_of_a_codes_information_for_certain_ones():
    assert float(relaxation.kl_from_uniform(jnp.full((3, 6), 7.0))) == pytest.approx(0, abs=1e-6)
    assert float(relaxation.kl_from_uniform(1e4 * jnp.eye(6))) == pytest.approx(np.log(6), rel=1e-6)
    assert float(relaxation.kl_from_uniform(LOGITS)) > 0


@pytest.mark.parametrize("recipe", [RelaxedRecipe(), GumbelRecipe(), DiscreteVAERecipe()])
def test_a_temperature_falls_from_its_first_to_its_last_value_and_stays(recipe: RelaxedRecipe):
    length = round(recipe.steps * recipe.temperature_fraction)
    degrees = [float(relaxation.temperature(recipe, step)) for step in range(0, length + 1, length // 8)]
    assert degrees[0] == pytest.approx(recipe.temperature)
    assert degrees[-1] == pytest.approx(recipe.final_temperature)
    assert all(after < before for before, after in pairwise(degrees))
    assert float(relaxation.temperature(recipe, recipe.steps)) == pytest.approx(recipe.final_temperature)


def test_temperatures_half_way_are_the_means_of_their_schedules():
    cosine = RelaxedRecipe(steps=100, temperature_fraction=1.0)
    assert float(relaxation.temperature(cosine, 50)) == pytest.approx((1 + 1 / 16) / 2)
    exponential = replace(cosine, temperature_schedule="exponential")
    assert float(relaxation.temperature(exponential, 50)) == pytest.approx(1 / 4)


def test_the_kls_weight_rises_from_nothing_and_stays():
    recipe = RelaxedRecipe(steps=6000)
    weights = [float(relaxation.kl_weight(recipe, step)) for step in (0, 5, 10, 6000)]
    assert weights == pytest.approx([0, 3.3, 6.6, 6.6])
    assert float(relaxation.kl_weight(replace(recipe, kl_fraction=0.0), 0)) == pytest.approx(6.6)
