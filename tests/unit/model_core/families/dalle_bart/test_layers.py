"""The transformer blocks on their own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.families.dalle_bart.layers import GLU, Attention, BlockTable, DecoderLayer, KeysValues, dense

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
    variables = module.init(
        jax.random.key(0), x, method=lambda m, x: m(x, m.keys_values(x), jnp.ones((1, 1, 1, 5), bool))
    )
    return module.bind(variables)


def test_attention_does_not_see_what_is_masked(attention):
    x, others = normal(1, 2, 5, WIDTH), normal(2, 2, 5, WIDTH)
    mask = jnp.array([True, True, False, True, False])[None, None, None]
    source = attention.keys_values(others)
    changed = attention.keys_values(others.at[:, jnp.array([2, 4])].set(99.0))
    np.testing.assert_array_equal(attention(x, source, mask), attention(x, changed, mask))


def test_attention_to_nothing_is_finite(attention):
    x = normal(3, 2, 5, WIDTH)
    assert np.isfinite(attention(x, attention.keys_values(x), jnp.zeros((1, 1, 1, 5), bool))).all()


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
    got = attention(x, attention.keys_values(others), jnp.ones((1, 1, 1, 5), bool))
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


NOBODY, NONE = 9, 5  # a part, and a block, that there are not
SCATTERED = (
    BlockTable(  # three rows: the first in blocks 3 and 0, the second in 2; block 1 and the third row have nobody
        blocks=jnp.array([[3, 0], [2, NONE], [NONE, NONE]]),
        row=jnp.array([0, 0, 1, 0, 2]),
        part=jnp.array([1, NOBODY, 0, 0, NOBODY]),
    )
)


def test_a_row_is_written_into_the_block_of_its_position():
    zeros = jnp.zeros((5, 2, 4, 5))
    new = KeysValues(keys=jnp.ones((3, 2, 1, 5)), values=2 * jnp.ones((3, 2, 1, 5)))
    written = SCATTERED.write(KeysValues(keys=zeros, values=zeros), new, jnp.array([6, 3, 1]))
    blocks, places = np.nonzero(np.asarray(written.keys[:, 0, :, 0]))
    assert list(zip(blocks.tolist(), places.tolist(), strict=True)) == [(0, 2), (2, 3)]
    np.testing.assert_array_equal(written.values, 2 * written.keys)


def test_attention_over_blocks_is_attention_over_what_is_in_them(attention):
    """Whoever has the blocks, in whatever order; a row without one is finite."""
    others, x, position = normal(9, 3, 8, WIDTH), normal(10, 3, 1, WIDTH), jnp.array([6, 3, 5])
    whole = attention.keys_values(others)

    def in_blocks(leaf):
        first, second = jnp.split(leaf, 2, axis=2)
        strange = jnp.full((5, *first.shape[1:]), 1e6)
        return strange.at[jnp.array([3, 0, 2])].set(jnp.stack([first[0], second[0], first[1]]))

    cache = jax.tree.map(in_blocks, whole)
    got = attention.over_blocks(x, cache, SCATTERED, position)
    seen = jnp.arange(8) <= position[:, None, None, None]
    np.testing.assert_allclose(got[:2], attention(x, whole, seen)[:2], atol=1e-6)
    assert np.isfinite(got).all()


def test_decoder_layer_steps_are_its_full_pass():
    x, states = normal(7, 2, 6, WIDTH), normal(8, 2, 3, WIDTH)
    text_mask = jnp.array([[True, True, False], [True, True, True]])[:, None, None]
    layer = with_random_params(DecoderLayer(WIDTH, HEADS, HIDDEN, 0.02), x, states, text_mask)
    expected, _ = layer(x, states, text_mask)
    empty = jnp.full((4, HEADS, 3, WIDTH // HEADS), 1e6)  # what is not written yet must not be read
    cache, text = KeysValues(keys=empty, values=empty), layer.text_keys_values(states)
    blocks = jnp.arange(4)
    table = BlockTable(blocks=blocks.reshape(2, 2), row=blocks // 2, part=blocks % 2)
    module, variables = layer.unbind()
    step = jax.jit(partial(module.apply, variables, method="step"))
    for position in range(6):
        got, cache = step(x[:, position : position + 1], cache, table, jnp.full(2, position), text, text_mask)
        np.testing.assert_allclose(got[:, 0], expected[:, position], atol=2e-5)


@pytest.mark.parametrize("rows", [1, 2, 5, 16])
def test_rows_of_one_position_are_multiplied_as_others_are(rows):
    kernel, x = normal(0, WIDTH, HIDDEN), normal(1, rows, 1, WIDTH)
    got = dense(HIDDEN).apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(got, np.asarray(x) @ np.asarray(kernel), rtol=1e-5, atol=1e-5)


def test_a_row_among_as_many_does_not_depend_on_the_others():
    params, x = {"params": {"kernel": normal(0, WIDTH, HIDDEN)}}, normal(1, 8, 1, WIDTH)
    apply = jax.jit(dense(HIDDEN).apply)
    together = apply(params, x)
    np.testing.assert_array_equal(apply(params, x[::-1])[::-1], together)
    np.testing.assert_array_equal(apply(params, jnp.where(jnp.arange(8)[:, None, None] == 3, x, 0.0))[3], together[3])
