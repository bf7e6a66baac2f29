"""A few positions at a time give what all positions at once give."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.families.dalle_bart import family as dalle_bart

LENGTH, EOS = 9, 19
step = partial(jax.jit, static_argnums=(0, 5))(dalle_bart.step)
prefill = partial(jax.jit, static_argnums=0)(dalle_bart.prefill)
read_text = partial(jax.jit, static_argnums=0)(dalle_bart.read_text)


@pytest.fixture(scope="module")
def codes():
    return jnp.asarray(np.random.default_rng(1).integers(0, EOS, (3, LENGTH)), jnp.int32)


@pytest.fixture(scope="module")
def conditions(tiny_conditions):
    return tuple(jnp.stack([getattr(one, name) for one in tiny_conditions.prompts]) for name in ("values", "mask"))


@pytest.fixture(scope="module")
def full_logits(tiny_dalle_bart, conditions, codes):
    """By the forward pass, for every position; eos is no code."""
    return np.asarray(dalle_bart.logits(*tiny_dalle_bart, *conditions, codes[:, :-1]).at[..., EOS].set(-jnp.inf))


@pytest.fixture(scope="module", params=[True, False], ids=["turned", "fused"])
def weights(request, tiny_dalle_bart):
    return dalle_bart.step_weights(tiny_dalle_bart.params, is_turned=request.param)


@pytest.fixture(scope="module")
def text(tiny_dalle_bart, weights, conditions):
    return read_text(tiny_dalle_bart.config, weights, *conditions)


def fed(codes, position, length=1):
    """The codes before `length` positions of each row; there is none before the first, nor behind the end."""
    places = np.asarray(position)[:, None] + np.arange(length) - 1
    inside = (places >= 0) & (places < LENGTH)
    return jnp.where(inside, codes[np.arange(len(codes))[:, None], places.clip(0, LENGTH - 1)], 7)


def advance(config, weights, state, codes, position, length=1, reach=LENGTH):
    position = np.broadcast_to(np.asarray(position, np.int32), 3)
    return step(config, weights, state, fed(codes, position, length), jnp.asarray(position), reach)


@pytest.fixture(scope="module")
def states(tiny_dalle_bart, weights, text, codes):
    """The states that single steps leave, by their position, with the logits on the way."""
    config = tiny_dalle_bart.config
    states, logits = [prefill(config, weights, text, codes[:, :0])], []
    for position in range(LENGTH):
        scored, state = advance(config, weights, states[-1], codes, position)
        states.append(state)
        logits.append(scored[:, 0])
    return states, np.stack(logits, axis=1)


def rows_of(states, position):
    """Each row from the state at its own position: leaves lead with the row axis."""
    return jax.tree.map(
        lambda *leaves: jnp.stack([leaf[i] for i, leaf in enumerate(leaves)]), *(states[p] for p in position)
    )


def shapes(state):
    return jax.tree.structure(state), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)]


def test_steps_are_the_full_forward_pass(states, full_logits):
    np.testing.assert_allclose(states[1], full_logits, atol=1e-4)


def test_fused_weights_give_what_turned_ones_give(tiny_dalle_bart, conditions, codes):
    """In steps, and behind a prefix that was read at once."""
    config, found = tiny_dalle_bart.config, []
    for is_turned in (True, False):
        weights = dalle_bart.step_weights(tiny_dalle_bart.params, is_turned=is_turned)
        text = read_text(config, weights, *conditions)
        state, scored = prefill(config, weights, text, codes[:, :4]), []
        for position in range(4, LENGTH):
            logits, state = advance(config, weights, state, codes, position)
            scored.append(logits)
        found.append(np.concatenate(scored, axis=1))
    np.testing.assert_allclose(*found, atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(*(logits.argmax(-1) for logits in found))


@pytest.mark.parametrize("position", [(0, 4, 2), (8, 0, 5)])
def test_rows_may_be_at_different_positions(tiny_dalle_bart, weights, codes, states, full_logits, position):
    state = rows_of(states[0], position)
    for turn in range(2):
        at = np.minimum(np.array(position) + turn, LENGTH - 1)  # who is at its end goes over its last code again
        logits, state = advance(tiny_dalle_bart.config, weights, state, codes, at)
        np.testing.assert_allclose(logits[:, 0], full_logits[np.arange(3), at], atol=1e-4)


@pytest.mark.parametrize("position", [(0, 4, 7), (6, 8, 1)])
def test_several_positions_at_once_are_single_steps(tiny_dalle_bart, weights, codes, states, position):
    """Rows near their end have fewer: nothing is written beyond it, nor over what is before."""
    config, length = tiny_dalle_bart.config, 3
    begun = rows_of(states[0], position)
    logits, state = advance(config, weights, begun, codes, position, length)
    expected = rows_of(states[0], [min(p + length, LENGTH) for p in position])
    for row, p in enumerate(position):
        known = min(length, LENGTH - p)
        np.testing.assert_allclose(logits[row, :known], states[1][row, p : p + known], atol=1e-4)
        for leaf, before, after in zip(*map(jax.tree.leaves, (state.cache, begun.cache, expected.cache)), strict=True):
            assert leaf.shape == before.shape
            np.testing.assert_array_equal(leaf[row, :, :p], before[row, :, :p])
            np.testing.assert_allclose(leaf[row, :, p : p + known], after[row, :, p : p + known], atol=1e-5)
            np.testing.assert_array_equal(leaf[row, :, p + known :], before[row, :, p + known :])
    at = np.minimum(np.array(position) + length, LENGTH - 1)
    following, _ = advance(config, weights, state, codes, at)
    np.testing.assert_allclose(following[:, 0], states[1][np.arange(3), at], atol=1e-4)


def test_codes_that_turn_out_otherwise_are_written_over(tiny_dalle_bart, weights, codes, states):
    """Three positions were scored under wrong codes from the second on."""
    config, position = tiny_dalle_bart.config, [2, 2, 2]
    wrong = codes.at[:, 2:].set((codes[:, 2:] + 1) % EOS)
    logits, state = advance(config, weights, states[0][2], wrong, position, 3)
    np.testing.assert_allclose(logits[:, 0], states[1][:, 2], atol=1e-4)
    assert not np.allclose(logits[:, 1, :EOS], states[1][:, 3, :EOS], atol=1e-2)
    for at in range(3, 6):
        logits, state = advance(config, weights, state, codes, at)
        np.testing.assert_allclose(logits[:, 0], states[1][:, at], atol=1e-4)


@pytest.mark.parametrize("reach", [6, 7])
def test_any_reach_beyond_the_positions_gives_the_same(tiny_dalle_bart, weights, codes, states, reach):
    config, position = tiny_dalle_bart.config, (0, 3, 5)
    begun = rows_of(states[0], position)
    expected, _ = advance(config, weights, begun, codes, position)
    logits, state = advance(config, weights, begun, codes, position, reach=reach)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert shapes(state) == shapes(begun)


def test_what_precedes_the_first_position_does_not_matter(tiny_dalle_bart, weights, codes, states):
    config, at = tiny_dalle_bart.config, jnp.zeros(3, jnp.int32)
    logits, _ = step(config, weights, states[0][0], jnp.full((3, 1), -1, jnp.int32), at, LENGTH)
    np.testing.assert_array_equal(logits[:, 0], states[1][:, 0])


@pytest.mark.parametrize("length", [1, 5, 9])
def test_a_prefix_read_at_once_leaves_what_steps_leave(tiny_dalle_bart, weights, text, codes, states, length):
    """It may be longer than what is known: it holds nothing of codes for the positions before them."""
    config = tiny_dalle_bart.config
    for known in range(max(length - 2, 0), length + 1):
        given = jnp.where(jnp.arange(length) < known, codes[:, :length], 0)
        state = prefill(config, weights, text, given)
        for leaf, expected in zip(*map(jax.tree.leaves, (state.cache, states[0][known].cache)), strict=True):
            assert leaf.shape == expected.shape
            np.testing.assert_allclose(leaf[:, :, :known], expected[:, :, :known], atol=1e-5)


def test_rows_that_nobody_has_are_finite_and_of_the_right_shapes(tiny_dalle_bart, weights, codes, states):
    config = tiny_dalle_bart.config
    empty = dalle_bart.empty(config, weights, 3)
    assert shapes(empty) == shapes(states[0][0])
    logits, after = advance(config, weights, empty, codes, LENGTH - 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    assert np.isfinite(logits[..., :EOS]).all()


def test_only_codes_are_scored(states):
    """Neither eos nor the start token, which is the id behind the codes."""
    logits = states[1]
    assert logits.shape[-1] == 21
    np.testing.assert_array_equal(np.isfinite(logits).all((0, 1)), np.arange(21) != EOS)


def test_layers_are_cut_out_in_order(tiny_dalle_bart):
    params = tiny_dalle_bart.params
    weights = dalle_bart.step_weights(params)
    assert weights.is_turned  # the tests run on a CPU
    stacked = params["model"]["decoder"]["layers"]["FlaxBartDecoderLayers"]
    restacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *weights.unpacked()[1])
    jax.tree.map(np.testing.assert_array_equal, restacked, stacked)
    assert "encoder" not in weights.shared["model"]


def test_what_reads_the_same_input_is_one_kernel_where_kernels_are_not_turned(tiny_dalle_bart):
    params = tiny_dalle_bart.params
    shared, layers = dalle_bart.step_weights(params, is_turned=False).unpacked()
    np.testing.assert_array_equal(shared["lm_head"]["kernel"], params["lm_head"]["kernel"])
    stacked = params["model"]["decoder"]["layers"]["FlaxBartDecoderLayers"]
    for i, layer in enumerate(layers):
        published = jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
        for block, name, parts in (
            ("FlaxBartAttention_0", "qkv_proj", ("q_proj", "k_proj", "v_proj")),
            ("GLU_0", "Dense_01", ("Dense_0", "Dense_1")),
        ):
            expected = np.concatenate([published[block].pop(part)["kernel"] for part in parts], axis=1)
            np.testing.assert_array_equal(layer[block].pop(name)["kernel"], expected)
        jax.tree.map(np.testing.assert_array_equal, layer, published)


@pytest.mark.parametrize("is_turned", [True, False])
def test_layers_may_be_cut_while_they_are_loaded(tiny_dalle_bart, is_turned):
    params = tiny_dalle_bart.params
    place = dalle_bart.cutting()

    def loaded(path, leaf):
        return place("/".join(key.key for key in path), np.asarray(leaf))

    cut = jax.tree_util.tree_map_with_path(loaded, params)
    jax.tree.map(
        np.testing.assert_array_equal,
        dalle_bart.step_weights(cut, is_turned=is_turned),
        dalle_bart.step_weights(params, is_turned=is_turned),
    )
