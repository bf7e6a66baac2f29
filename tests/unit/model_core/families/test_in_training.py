"""Dropout as such: how much is dropped, what is left, and where the noise is another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.families.in_training import NAME, asked_of, dropped

PARAMS = {"head": jnp.ones(2), "layers": {"0": {"out": jnp.ones(3)}, "10": {"out": jnp.ones(3)}}}
X = jnp.ones((4, 50, 40))


def layers(seed: int = 0) -> dict:
    return asked_of(PARAMS, jax.random.key(seed), dropout=0.25)["layers"]


def test_where_nothing_is_asked_parameters_are_the_same_and_numbers_too():
    assert asked_of(PARAMS, jax.random.key(0)) is PARAMS
    assert dropped(PARAMS["layers"]["0"], "dropout", 0, X) is X
    assert dropped(layers()["0"], "activation_dropout", 0, X) is X
    assert NAME in layers()["0"]
    assert NAME not in PARAMS["layers"]["0"]  # what was given stays as it was


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_share_becomes_zero_and_the_rest_grows_so_that_the_mean_stays(dtype: str):
    made = dropped(layers()["0"], "dropout", 0, X.astype(dtype))
    assert made.dtype == dtype
    numbers = np.asarray(made, np.float32)
    assert (numbers == 0).mean() == pytest.approx(0.25, abs=0.025)  # five standard deviations of 8000
    np.testing.assert_allclose(numbers[numbers > 0], 4 / 3, rtol=4e-3)


def test_noise_is_that_of_its_key_layer_place_and_length_alone():
    def noise(seed: int = 0, layer: str = "0", place: int = 0, length: int = 50) -> np.ndarray:
        return np.asarray(dropped(layers(seed)[layer], "dropout", place, X[:, :length]) > 0)[:, :40]

    one = noise()
    np.testing.assert_array_equal(one, noise())
    for other in (noise(seed=1), noise(layer="10"), noise(place=1), noise(length=40)):
        assert (one == other).mean() == pytest.approx(0.75**2 + 0.25**2, abs=0.03)  # as of two that share nothing
