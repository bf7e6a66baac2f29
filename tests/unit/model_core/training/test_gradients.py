"""Gradients in pieces and in half of the bits are the gradients of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.training.gradients import mean_gradient

PARAMS = {"w": jnp.array([0.5, -1.0, 2.0])}
BATCH = {"x": np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32), "y": np.arange(12.0, dtype=np.float32)}


def squared_error(params: dict, batch: dict) -> jax.Array:
    return jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2)


@pytest.mark.parametrize("pieces", [1, 2, 3, 12])
def test_the_gradient_of_the_pieces_is_that_of_the_batch(pieces: int):
    want_loss, want = jax.value_and_grad(squared_error)(PARAMS, BATCH)
    loss, got = mean_gradient(squared_error, PARAMS, BATCH, pieces=pieces)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-5)
    np.testing.assert_allclose(got["w"], want["w"], rtol=1e-5)


def test_half_of_the_bits_give_about_the_same_gradient_in_float32():
    _, want = mean_gradient(squared_error, PARAMS, BATCH)
    _, got = mean_gradient(squared_error, PARAMS, BATCH, dtype="bfloat16")
    assert got["w"].dtype == jnp.float32
    np.testing.assert_allclose(got["w"], want["w"], rtol=0.05)
    assert (np.asarray(got["w"]) != np.asarray(want["w"])).any()


@pytest.mark.parametrize("pieces", [0, 5, 24])
def test_pieces_that_are_not_equal_are_refused(pieces: int):
    with pytest.raises(InvalidValue, match=rf"12 cannot be cut into {pieces}"):
        mean_gradient(squared_error, PARAMS, BATCH, pieces=pieces)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(InvalidValue, match=r"'int8'.*auto, float32, bfloat16"):
        mean_gradient(squared_error, PARAMS, BATCH, dtype="int8")
