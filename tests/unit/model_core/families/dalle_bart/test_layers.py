"""The transformer blocks on their own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.families.dalle_bart.layers import GLU, Attention, DecoderLayer
from model_core.families.keys_values import KeysValues

WIDTH, HEADS, HIDDEN = 16, 4, 24


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def with_random_params(module, *inputs):
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    leaves, tree = jax.tree.flatten(shapes)
    return module.bind(jax.tree.unflatten(tree, [normal(i, *leaf.shape) * 0.3 for i, leaf in enumerate(leaves)]))


@pytest.fixture(scope="module")
def attention():
    x = normal(0, 2, 5, WIDTH)
    module = Attention(WIDTH, HEADS, 0.02)
    everything = jnp.ones((1, 1, 1, 5), bool)
    return module.bind(
        module.init(jax.random.key(0), x, method=lambda m, x: attend(m, x, m.keys_values(x), everything))
    )


def attend(attention, x, source, mask):
    return attention(attention.queries(x), (source,), mask)


def test_attention_does_not_see_what_is_masked(attention):
    x, others = normal(1, 2, 5, WIDTH), normal(2, 2, 5, WIDTH)
    mask = jnp.array([True, True, False, True, False])[None, None, None]
    source = attention.keys_values(others)
    changed = attention.keys_values(others.at[:, jnp.array([2, 4])].set(99.0))
    np.testing.assert_array_equal(attend(attention, x, source, mask), attend(attention, x, changed, mask))


def test_attention_to_nothing_is_finite(attention):
    x = normal(3, 2, 5, WIDTH)
    assert np.isfinite(attend(attention, x, attention.keys_values(x), jnp.zeros((1, 1, 1, 5), bool))).all()


def test_attention_is_its_formula(attention):
    x, others = normal(4, 2, 3, WIDTH), normal(5, 2, 5, WIDTH)
    weights = jax.tree.map(lambda w: np.asarray(w, np.float64), attention.variables["params"])
    q, k, v = (
        (np.asarray(z, np.float64) @ weights[name]["kernel"]).reshape(2, -1, HEADS, WIDTH // HEADS)
        for z, name in ((x, "q_proj"), (others, "k_proj"), (others, "v_proj"))
    )
    scores = np.exp(np.einsum("blhk,bshk->bhls", q, k) / np.sqrt(WIDTH // HEADS))
    mixed = np.einsum("bhls,bshk->blhk", scores / scores.sum(-1, keepdims=True), v)
    expected = mixed.reshape(2, 3, WIDTH) @ weights["out_proj"]["kernel"]
    got = attend(attention, x, attention.keys_values(others), jnp.ones((1, 1, 1, 5), bool))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_glu_is_its_formula():
    x = normal(6, 2, 3, WIDTH)
    glu = with_random_params(GLU(WIDTH, HIDDEN, 0.02), x)
    weights = jax.tree.map(lambda w: np.asarray(w, np.float64), glu.variables["params"])

    def layer_norm(z, name):
        return (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-5) + weights[name]["bias"]

    h = layer_norm(np.asarray(x, np.float64), "LayerNorm_0")
    a, b = h @ weights["Dense_0"]["kernel"], h @ weights["Dense_1"]["kernel"]
    gelu = np.asarray(jax.nn.gelu(jnp.asarray(a, jnp.float32), approximate=False))
    expected = layer_norm(gelu * b, "LayerNorm_1") @ weights["Dense_2"]["kernel"]
    np.testing.assert_allclose(glu(x), expected, atol=1e-5)


def test_entries_are_written_at_each_rows_own_place_and_none_beyond_the_end():
    zeros = jnp.zeros((3, 2, 4, 5))
    new = normal(9, 3, 2, 2, 5)  # two entries a row
    written = KeysValues(keys=zeros, values=zeros).write(KeysValues(keys=new, values=2 * new), jnp.array([2, 0, 3]))
    expected = np.zeros(zeros.shape, np.float32)
    expected[0, :, 2:4], expected[1, :, :2], expected[2, :, 3] = new[0], new[1], new[2, :, 0]
    np.testing.assert_array_equal(written.keys, expected)
    np.testing.assert_array_equal(written.values, 2 * written.keys)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_decoder_layer_steps_are_its_full_pass(length):
    x, states = normal(7, 2, 6, WIDTH), normal(8, 2, 3, WIDTH)
    text_mask = jnp.array([[True, True, False], [True, True, True]])[:, None, None]
    layer = with_random_params(DecoderLayer(WIDTH, HEADS, HIDDEN, 0.02), x, states, text_mask)
    expected, _ = layer(x, states, text_mask)
    empty = [jnp.full((2, HEADS, size, WIDTH // HEADS), 1e6) for size in (4, 2)]  # what is not written is not read
    cache, text = tuple(KeysValues(keys=part, values=part) for part in empty), layer.text_keys_values(states)
    module, variables = layer.unbind()
    step = jax.jit(partial(module.apply, variables, method="step"), static_argnums=3)
    for position in range(0, 6, length):
        some = x[:, position : position + length]
        got, cache = step(some, cache, jnp.full(2, position), position + length, text, text_mask)
        np.testing.assert_allclose(got, expected[:, position : position + length], atol=2e-5)
    whole, seen = layer.read(x, text, text_mask)
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_allclose(np.concatenate([part.keys for part in cache], axis=2), seen.keys, atol=2e-5)
    np.testing.assert_allclose(np.concatenate([part.values for part in cache], axis=2), seen.values, atol=2e-5)
