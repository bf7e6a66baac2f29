"""Layouts of dense layers change where numbers lie, not what comes out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.families.linear import dense, fused, product, turned

WIDTH, HIDDEN = 16, 24


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def apply(kernel, x):
    return dense(kernel.shape[1]).apply({"params": {"kernel": kernel}}, x)


@pytest.mark.parametrize("rows", [1, 2, 5, 16])
@pytest.mark.parametrize("positions", [1, 3])
def test_rows_are_multiplied_whatever_their_number(rows, positions):
    """Few rows of one position each go ways of their own."""
    kernel, x = normal(0, WIDTH, HIDDEN), normal(1, rows, positions, WIDTH)
    np.testing.assert_allclose(apply(kernel, x), np.asarray(x) @ np.asarray(kernel), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("positions", [0, 1, 3])
def test_sums_may_be_wider_than_what_is_multiplied(rows, positions):
    """Here they are beyond float16's range."""
    kernel, x = jnp.full((WIDTH, HIDDEN), 300, jnp.float16), jnp.full((rows, positions, WIDTH), 300, jnp.float16)
    got = jax.jit(lambda x: product(x, kernel, jnp.float32))(x)
    np.testing.assert_array_equal(got, np.full((rows, positions, HIDDEN), WIDTH * 300.0**2, np.float32))


@pytest.mark.parametrize("positions", [3, 40])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sums", [None, "float32"])
def test_gradients_are_those_of_a_plain_product(positions, dtype, sums):
    kernel, x = (value.astype(dtype) for value in (normal(0, WIDTH, HIDDEN), normal(1, 2, positions, WIDTH)))
    weights = normal(2, 2, positions, HIDDEN)

    def plain(x, kernel):
        return jnp.matmul(x, kernel, preferred_element_type=sums)

    def gradients(multiply):
        return jax.grad(lambda x, kernel: (multiply(x, kernel) * weights).sum(), argnums=(0, 1))(x, kernel)

    for got, expected in zip(gradients(partial(product, dtype=sums)), gradients(plain), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got.astype("float32"), expected.astype("float32"), rtol=2e-2, atol=1e-5)


def test_the_gradient_of_a_kernel_is_not_made_the_other_way_round():
    """XLA's CPU backend would turn all rows for it, slowly."""
    kernel, x = normal(0, WIDTH, HIDDEN), normal(1, 2, 40, WIDTH)
    gradient = jax.grad(lambda kernel: apply(kernel, x).sum())
    assert "transpose" not in str(jax.make_jaxpr(gradient)(kernel))


def test_a_row_among_as_many_does_not_depend_on_the_others():
    kernel, x = normal(0, WIDTH, HIDDEN), normal(1, 8, 1, WIDTH)
    call = jax.jit(apply)
    together = call(kernel, x)
    np.testing.assert_array_equal(call(kernel, x[::-1])[::-1], together)
    np.testing.assert_array_equal(call(kernel, jnp.where(jnp.arange(8)[:, None, None] == 3, x, 0.0))[3], together[3])


@pytest.mark.parametrize("rows", [2, 8])
def test_a_kernel_that_lies_turned_is_the_same_kernel(rows):
    kernel, x = normal(0, WIDTH, HIDDEN), normal(1, rows, 1, WIDTH)
    got = jax.jit(lambda lying, x: apply(turned(lying), x))(turned(kernel), x)
    np.testing.assert_allclose(got, apply(kernel, x), atol=1e-5)


def test_turning_twice_changes_nothing_and_norms_have_no_sides():
    layer = {"dense": {"kernel": normal(0, 3, 5)}, "norm": {"bias": normal(1, 5)}}
    assert turned(layer)["dense"]["kernel"].shape == (5, 3)
    np.testing.assert_array_equal(turned(layer)["norm"]["bias"], layer["norm"]["bias"])
    jax.tree.map(np.testing.assert_array_equal, turned(turned(layer)), layer)


def test_fused_layers_give_what_the_parts_give_in_their_order():
    kernels = {name: {"kernel": normal(i, WIDTH, 3 + i)} for i, name in enumerate("abcd")}
    layers = fused(kernels, "cab", ("c", "a", "b"))
    assert set(layers) == {"cab", "d"} and layers["d"] is kernels["d"]
    x = normal(9, 4, 1, WIDTH)
    expected = [apply(kernels[name]["kernel"], x) for name in "cab"]
    np.testing.assert_allclose(apply(layers["cab"]["kernel"], x), np.concatenate(expected, axis=-1), atol=1e-5)
