"""A few codes at a time give what all codes at once give, whatever the layers look at."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.families.dalle_gpt import family as dalle_gpt
from tests.unit.model_core.families.dalle_gpt.configs import KINDS, changed, random_model

ROWS, LENGTH, CODES = 3, 16, 11
step = partial(jax.jit, static_argnums=(0, 5))(dalle_gpt.step)
prefill = partial(jax.jit, static_argnums=(0, 4))(dalle_gpt.prefill)
read_text = partial(jax.jit, static_argnums=0)(dalle_gpt.read_text)


class Model(NamedTuple):
    config: Any
    params: Any
    ids: np.ndarray
    codes: np.ndarray
    text: Any
    logits: np.ndarray

    def prefill(self, length: int, parts: int = 1) -> Any:
        return prefill(self.config, dalle_gpt.step_weights(self.params), self.text, self.codes[:, :length], parts)

    def step(self, state: Any, position: Any, length: int = 1, codes: Any = None, reach: int = LENGTH) -> Any:
        """Feeds the codes before `length` positions of each row; there is none before the first, nor behind the end."""
        position = np.broadcast_to(np.asarray(position, np.int32), ROWS)
        places = position[:, None] + np.arange(length) - 1
        known = (self.codes if codes is None else codes)[np.arange(ROWS)[:, None], places.clip(0, LENGTH - 1)]
        fed = np.where((places >= 0) & (places < LENGTH), known, 7)
        weights = dalle_gpt.step_weights(self.params)
        return step(self.config, weights, state, jnp.asarray(fed), jnp.asarray(position), reach)


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    config, params = random_model(KINDS[request.param])
    rng = np.random.default_rng(1)
    ids = rng.integers(1, 20, (ROWS, 4), dtype=np.int32) * (np.arange(4) < [[4], [2], [0]])
    codes = rng.integers(0, CODES, (ROWS, LENGTH), dtype=np.int32)
    text = read_text(config, dalle_gpt.step_weights(params), ids, np.ones_like(ids))
    logits = dalle_gpt.logits(config, params, ids, np.ones_like(ids), codes[:, :-1])
    return Model(config, params, ids, codes, text, np.asarray(logits))


@pytest.fixture(scope="module")
def states(model):
    """What single steps leave, by their position, checked on the way."""
    states = [model.prefill(0)]
    for position in range(LENGTH):
        scored, state = model.step(states[-1], position)
        np.testing.assert_allclose(scored[:, 0], model.logits[:, position], atol=1e-4)
        states.append(state)
    return states


def rows_of(states, position):
    """Each row from the state at its own position: leaves lead with the row axis."""
    return jax.tree.map(
        lambda *leaves: jnp.stack([leaf[i] for i, leaf in enumerate(leaves)]), *(states[p] for p in position)
    )


def shapes(state):
    return jax.tree.structure(state), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)]


@pytest.mark.parametrize("length", [3, 5])
def test_windows_are_single_steps_and_what_was_wrong_is_written_over(model, states, length):
    """Rows at positions of their own; codes from the window's third on turn out otherwise. One row is near its end."""
    position = np.array([0, 6, LENGTH - 2])
    wrong = model.codes.copy()
    for row, start in enumerate(position):
        wrong[row, start + 1 :] = (wrong[row, start + 1 :] + 1) % CODES
    logits, state = model.step(rows_of(states, position), position, length, wrong)
    for row, start in enumerate(position):
        np.testing.assert_allclose(logits[row, :2], model.logits[row, start : start + 2], atol=1e-4)
    assert not np.allclose(logits[1, 2], model.logits[1, 8], atol=1e-2)
    following = np.minimum(position + 2, LENGTH - 1)
    for _ in range(2):
        logits, state = model.step(state, following, length)
        for row, start in enumerate(following):
            known = min(length, LENGTH - start)
            np.testing.assert_allclose(logits[row, :known], model.logits[row, start : start + known], atol=1e-4)
        following = np.minimum(following + 2, LENGTH - 1)  # over part of the window again


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("length", [1, 4, LENGTH])
def test_a_prefix_read_at_once_goes_on_as_steps_do(model, length, parts):
    """It may be longer than what is known: it holds nothing of codes for the positions before them."""
    state = model.prefill(length, parts)
    position = min(length, LENGTH - 2) - 1
    for at in (max(position, 0), position + 1):
        reach = next(end for end in (4, 8, 12, 16) if end > at) if parts > 1 else LENGTH
        logits, after = model.step(state, at, reach=reach)
        np.testing.assert_allclose(logits[:, 0], model.logits[:, at], atol=1e-4)
        assert shapes(after) == shapes(state)
        state = after


def test_what_precedes_the_first_position_does_not_matter(model, states):
    logits, state = model.step(states[0], 0, codes=np.full((ROWS, LENGTH), -1))
    np.testing.assert_array_equal(logits[:, 0], model.text.first)
    np.testing.assert_array_equal(
        *(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(s.cache)]) for s in (state, states[0]))
    )


def test_rows_that_nobody_has_are_finite_and_of_the_right_shapes(model, states):
    weights = dalle_gpt.step_weights(model.params)
    empty = dalle_gpt.empty(model.config, weights, ROWS)
    assert shapes(empty) == shapes(states[0])
    logits, after = model.step(empty, LENGTH - 1)
    assert all(np.isfinite(leaf).all() for leaf in [logits, *jax.tree.leaves(after)])


def test_the_mask_does_not_matter_because_pads_are_tokens(model):
    nothing = np.zeros_like(model.ids)
    logits = dalle_gpt.logits(model.config, model.params, model.ids, nothing, model.codes[:, :-1])
    np.testing.assert_array_equal(logits, model.logits)


def test_scores_of_a_text_do_not_depend_on_the_others(model):
    one = dalle_gpt.logits(model.config, model.params, model.ids[:1], model.ids[:1], model.codes[:1, :3])
    assert one.shape == (1, 4, CODES)
    np.testing.assert_allclose(one, model.logits[:1, :4], atol=1e-5)
    assert not np.allclose(model.logits[1, 0], model.logits[2, 0], atol=1e-2)


def test_no_codes_are_scored_too(model):
    logits = dalle_gpt.logits(model.config, model.params, model.ids, model.ids, model.codes[:, :0])
    np.testing.assert_allclose(logits, model.logits[:, :1], atol=1e-5)


def test_what_scores_text_alone_is_no_weight_of_a_step(model):
    weights = dalle_gpt.step_weights(model.params)
    assert ("text_head" in weights) == model.config.is_tied


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_of_the_bits_is_near(dtype):
    """Norms, scores and sums are float32, whatever the weights are in."""
    raw = KINDS["rudalle_v3"]
    (config, exact), (_, params) = random_model(raw), random_model(raw, dtype)
    ids, codes = np.ones((1, 4), np.int32), np.arange(8, dtype=np.int32)[None]
    expected = dalle_gpt.logits(config, exact, ids, ids, codes)
    text = read_text(config, dalle_gpt.step_weights(params), ids, ids)
    state = dalle_gpt.prefill(config, params, text, codes[:, :4])
    scored, _ = step(config, dalle_gpt.step_weights(params), state, codes[:, 3:4], jnp.full(1, 4), LENGTH)
    assert scored.dtype == jnp.float32
    allowed = {"float16": 0.02, "bfloat16": 0.15}[dtype]
    np.testing.assert_allclose(scored[:, 0], expected[:, 4], atol=allowed)


def test_the_limit_counts_every_weight_of_the_products():
    config, params = random_model(changed(KINDS["mindalle"]))
    numbers = dalle_gpt.step_numbers(config)
    kernels = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(dalle_gpt.step_weights(params))
        if leaf.ndim == 2 and path[0].key in ("layers", "head")
    ]
    assert numbers.weights == sum(leaf.size for leaf in kernels)
    assert (numbers.text, numbers.per_code) == (2 * 2 * 16 * 4, 2 * 2 * 16)
