"""The adversary: what it judges, how it weighs, and that it costs nothing where it is off."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.training.codecs import adversary
from model_core.training.codecs.step import initial_state, train_step
from tests.unit.model_core.training.codecs.tiny import CONFIGS, RECIPES, pictures

CONFIG = CONFIGS["discrete_vae"]
OFF = RECIPES["discrete_vae"]
ON = replace(OFF, adversarial_weight=0.5, adversarial_from=1)


def equal(some: dict, others: dict) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, some, others)))


def test_it_judges_patches_of_a_picture():
    """Of 70 × 70 pixels, where three layers halve."""
    seen = jax.eval_shape(adversary.Discriminator(64, 3).init_with_output, jax.random.key(0), jnp.zeros((2, 96, 96, 3)))
    assert seen[0].shape == (2, 10, 10)


def test_a_weight_makes_both_gradients_equally_long_and_has_a_ceiling():
    of_loss, of_fooled = jnp.full((3, 3), 2.0), jnp.full((3, 3), -0.5)
    assert float(adversary.balance(of_loss, of_fooled)) == pytest.approx(4, rel=1e-3)
    assert float(adversary.balance(1e3 * of_loss, 0 * of_fooled)) == 1e4


def test_it_learns_to_tell_fake_pictures_from_real_ones():
    real = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    fake = real.at[:, ::2].set(0.5)
    state = adversary.begin(replace(ON, adversary_learning_rate=0.01))["adversary"]
    learn = jax.jit(partial(adversary.learned, replace(ON, adversary_learning_rate=0.01)))
    losses = []
    for _ in range(20):
        state, loss = learn(state, fake, real)
        losses.append(float(loss))
    assert losses[0] == pytest.approx(1, abs=0.2)  # it knows nothing
    assert losses[-1] < 0.5
    assert float(adversary.fooled(ON, state["params"], fake)) > float(adversary.fooled(ON, state["params"], real))


def test_before_it_begins_a_step_is_that_of_a_run_without_one_and_then_it_weighs():
    batch, key = jnp.asarray(pictures(2), jnp.float32) / 255, jax.random.key(3)
    runs = {"off": OFF, "on": ON}
    states = {name: initial_state(CONFIG, recipe) for name, recipe in runs.items()}
    assert states["off"].keys() == {"step", "params", "optimizer"}
    judge = jax.tree.map(np.array, states["on"]["adversary"])
    told = {}
    for number in range(2):
        for name, recipe in runs.items():
            states[name], told[name] = train_step(states[name], batch, key, config=CONFIG, recipe=recipe)
            states[name]["step"] = jnp.int32(number + 1)
        assert equal(states["off"]["params"], states["on"]["params"]) == (number == 0)
        assert equal(judge, states["on"]["adversary"]) == (number == 0)
    assert told["on"].keys() - told["off"].keys() == {"adversary_loss", "adversary_weight"}
    assert float(told["on"]["loss"]) == pytest.approx(float(told["off"]["loss"]))  # that of the same parameters
    assert float(told["on"]["adversary_weight"]) > 0
