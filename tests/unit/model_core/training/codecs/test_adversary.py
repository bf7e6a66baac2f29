"""The adversary: what it judges, how it weighs, and that it learns. `test_train.py` has it in a step."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from model_core.errors import InvalidValue
from model_core.training.codecs import adversary
from tests.unit.model_core.training.codecs.tiny import RECIPES

RECIPE = replace(RECIPES["vqgan"], adversarial_weight=0.5, adversary_learning_rate=0.01)


def test_it_judges_patches_of_a_picture():
    """Of 70 × 70 pixels, where three layers halve."""
    seen = jax.eval_shape(adversary.Discriminator(64, 3).init_with_output, jax.random.key(0), jnp.zeros((2, 96, 96, 3)))
    assert seen[0].shape == (2, 10, 10)


def test_a_weight_makes_both_gradients_equally_long_and_has_a_ceiling():
    of_loss, of_fooled = jnp.full((3, 3), 2.0), jnp.full((3, 3), -0.5)
    assert float(adversary.balance(of_loss, of_fooled)) == pytest.approx(4, rel=1e-3)
    assert float(adversary.balance(1e3 * of_loss, 0 * of_fooled)) == 1e4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"adversarial_weight": -0.5}, "adversarial_weight must be 0 or more; got -0.5"),
        (
            {"adversary_layers": 3},
            r"adversary_layers is 3; it must be at least 1, and 3 · 2 \*\* layers at most the 16",
        ),
        ({"adversary_layers": 0}, "adversary_layers is 0"),
    ],
)
def test_one_that_would_have_nothing_to_judge_is_refused(values: dict[str, Any], message: str):
    with pytest.raises(InvalidValue, match=message):
        adversary.begin(replace(RECIPE, **values), 16)


def test_it_learns_to_tell_fake_pictures_from_real_ones():
    real = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    fake = real.at[:, ::2].set(0.5)
    assert adversary.begin(RECIPES["vqgan"], 16) == {}
    state = adversary.begin(RECIPE, 16)["adversary"]
    learn = jax.jit(partial(adversary.learned, RECIPE))
    losses = []
    for _ in range(20):
        state, loss = learn(state, fake, real)
        losses.append(float(loss))
    assert losses[0] == pytest.approx(1, abs=0.2)  # it knows nothing
    assert losses[-1] < 0.5
    fooled = jax.jit(partial(adversary.fooled, RECIPE, state["params"]))
    assert float(fooled(fake)) > float(fooled(real))
