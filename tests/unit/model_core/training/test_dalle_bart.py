"""Training the DalleBart: corruption of its input, dropped prompts, and that both optimizers learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import InvalidValue
from model_core.families.dalle_bart.dropout import _PLACES
from model_core.families.dalle_bart.family import DalleBartConfig, param_shapes
from model_core.families.dalle_bart.network import DalleBart
from model_core.tokenizer import Tokenizer
from model_core.training import dalle_bart, sequences
from model_core.training.dalle_bart import DalleBartRecipe

CODES, LENGTH = 16, 9
CONFIG = DalleBartConfig(
    encoder_vocab_size=32,
    image_vocab_size=CODES,
    image_length=LENGTH,
    max_text_length=6,
    d_model=16,
    encoder_layers=1,
    encoder_attention_heads=2,
    encoder_ffn_dim=16,
    decoder_layers=1,
    decoder_attention_heads=2,
    decoder_ffn_dim=16,
    decoder_start_token_id=CODES,
    eos_token_id=CODES + 1,
)
PROMPTS = ("red", "blue", "green", "white")


class OneWordTokenizer(Tokenizer):
    """A prompt becomes (2, its number from 10, 3, 1 …); the empty prompt (2, 3, 1 …). Has no files."""

    def __init__(self):
        pass

    def __call__(self, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.array([[2, 10 + PROMPTS.index(prompt), 3, 1, 1, 1] for prompt in prompts], np.int32)
        return tokens, (tokens != 1).astype(np.int32)

    def unconditional(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.tile(np.array([2, 3, 1, 1, 1, 1], np.int32), (batch, 1))
        return tokens, (tokens != 1).astype(np.int32)


def some_codes(rows: int, length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(0).integers(CODES, size=(rows, length), dtype=np.int32)


def draw_batch(recipe: DalleBartRecipe, seed: int = 0) -> tuple[dict, np.ndarray]:
    codes = np.arange(len(PROMPTS), dtype=np.int32)[:, None].repeat(LENGTH, axis=1)
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(PROMPTS), size=recipe.batch_size)
    prompts = [PROMPTS[place] for place in chosen]
    return dalle_bart.make_rows(codes[chosen], prompts, OneWordTokenizer(), recipe, 6, rng), codes


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_no_corruption_changes_nothing(seed: int):
    codes = some_codes(4)
    shown = dalle_bart.corrupt(jnp.asarray(codes), CODES, jnp.zeros(4), jax.random.key(seed))
    np.testing.assert_array_equal(shown, codes)


def test_full_corruption_leaves_the_start_id_or_the_next_rows_code_at_every_place():
    codes = some_codes(4, 1000)
    shown = np.asarray(dalle_bart.corrupt(jnp.asarray(codes), CODES, jnp.ones(4), jax.random.key(0)))
    blank = shown == CODES
    np.testing.assert_array_equal(shown[~blank], np.roll(codes, 1, axis=0)[~blank])
    assert blank.mean() == pytest.approx(0.5, abs=0.04)  # five standard deviations of 4 000 coins


def test_each_row_is_corrupted_by_its_own_share():
    codes = np.arange(4, dtype=np.int32)[:, None].repeat(2000, axis=1)  # no row's code is another's
    shares = jnp.array([0.0, 0.1, 0.5, 1.0])
    shown = np.asarray(dalle_bart.corrupt(jnp.asarray(codes), CODES, shares, jax.random.key(0)))
    np.testing.assert_allclose((shown != codes).mean(axis=1), shares, atol=0.06)


def test_shares_are_heavy_for_some_light_for_others_and_fade_at_the_end():
    recipe = DalleBartRecipe(steps=1000, heavy_share=0.5, light_corruption=0.1, clean_fraction=0.2)

    def shares_at(step: int) -> np.ndarray:
        return np.asarray(dalle_bart.corruption_shares(recipe, 2000, jnp.int32(step), jax.random.key(0)))

    full = shares_at(0)
    heavy = full >= 0.4
    assert heavy.mean() == pytest.approx(0.5, abs=0.06)
    np.testing.assert_allclose(full[~heavy], 0.1)
    assert full.max() <= 1
    np.testing.assert_array_equal(shares_at(800), full)
    np.testing.assert_allclose(shares_at(900), full / 2, rtol=1e-5)
    np.testing.assert_array_equal(shares_at(1000), 0)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_dropped_prompts(share: float):
    batch, _ = draw_batch(DalleBartRecipe(batch_size=2000, prompt_dropout=share))
    dropped = batch["text_tokens"][:, 1] == 3
    assert dropped.mean() == pytest.approx(share, abs=0.05)
    np.testing.assert_array_equal(batch["text_mask"].sum(axis=1), np.where(dropped, 2, 3))


def test_a_prompt_stays_with_its_own_picture():
    batch, codes = draw_batch(DalleBartRecipe(batch_size=50, prompt_dropout=0.0))
    np.testing.assert_array_equal(batch["codes"], codes[batch["text_tokens"][:, 1] - 10])
    assert set(batch["codes"][:, 0].tolist()) == {0, 1, 2, 3}


def test_steps_on_one_batch_lower_the_loss():
    recipe = DalleBartRecipe(steps=60, batch_size=8, warm_up_steps=2, learning_rate=3e-3, heavy_share=0.0)
    batch, _ = draw_batch(recipe)
    state = dalle_bart.initial_state(CONFIG, recipe)
    start = jax.tree.map(np.asarray, state["params"])
    losses = []
    for i in range(15):
        state, metrics = dalle_bart.train_step(state, batch, jax.random.key(i), config=CONFIG, recipe=recipe)
        state["step"] = jnp.int32(i + 1)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    moved = jax.tree.map(lambda old, new: bool((old != np.asarray(new)).any()), start, state["params"])
    assert any(jax.tree.leaves(moved))
    jax.tree.map(lambda average, now: np.testing.assert_equal(average.shape, now.shape), state["ema"], state["params"])


def test_dropout_reaches_all_its_places_and_follows_its_key():
    met = set()

    def meet(call, args, kwargs, context):
        met.add((type(context.module.parent), str(context.module.name)))
        return call(*args, **kwargs)

    tokens, codes, rng = jnp.ones((2, 6), jnp.int32), some_codes(2), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), param_shapes(CONFIG))
    with nn.intercept_methods(meet):
        jax.eval_shape(DalleBart(CONFIG).apply, {"params": params}, tokens, tokens == 1, codes)
    assert _PLACES.keys() <= met

    recipe = DalleBartRecipe(dropout=0.3, activation_dropout=0.3)
    rows = {"codes": codes, "text_tokens": tokens, "text_mask": tokens}

    @jax.jit
    def loss(key: jax.Array) -> jax.Array:
        return dalle_bart.loss(CONFIG, params, rows | sequences.noise_of_rows(recipe, key, 2), recipe=recipe)

    first, again, other = (float(loss(jax.random.key(seed))) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("name", ["dropout", "activation_dropout"])
def test_a_dropout_that_is_no_share_is_refused(name: str):
    with pytest.raises(InvalidValue, match=f"{name} must be a share, from 0 to below 1; got 1.0"):
        sequences.check(DalleBartRecipe(**{name: 1.0}))


def test_keeping_every_code_is_the_same_loss_and_keeping_the_first_is_that_of_a_beginning():
    params = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), param_shapes(CONFIG))
    rows = dalle_bart.make_rows(some_codes(3), PROMPTS[:3], OneWordTokenizer(), DalleBartRecipe(prompt_dropout=0), 6,
                                np.random.default_rng(0))  # fmt: skip
    for count in (LENGTH, 4):
        positions = jnp.tile(jnp.arange(count), (3, 1))
        beginning = rows | {"codes": rows["codes"][:, :count]}
        each_counts = jnp.full(positions.shape, LENGTH / count)
        got = dalle_bart.loss(CONFIG, params, rows | {"positions": positions, "weights": each_counts})
        np.testing.assert_allclose(got, dalle_bart.loss(CONFIG, params, beginning), rtol=1e-5)


def test_positions_say_where_codes_are():
    params = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), param_shapes(CONFIG))
    rows = dalle_bart.make_rows(some_codes(3), PROMPTS[:3], OneWordTokenizer(), DalleBartRecipe(prompt_dropout=0), 6,
                                np.random.default_rng(0))  # fmt: skip
    weights = jnp.ones((3, 3))
    one, other = (
        dalle_bart.loss(CONFIG, params, rows | {"positions": jnp.tile(jnp.array(places), (3, 1)), "weights": weights})
        for places in ([0, 1, 4], [0, 1, 5])
    )
    assert one != other


def test_a_code_counts_for_as_many_as_its_weight_says():
    params = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), param_shapes(CONFIG))
    rows = dalle_bart.make_rows(some_codes(3), PROMPTS[:3], OneWordTokenizer(), DalleBartRecipe(prompt_dropout=0), 6,
                                np.random.default_rng(0))  # fmt: skip
    rows["positions"] = jnp.tile(jnp.array([0, 1, 4]), (3, 1))
    first, last, both = (
        dalle_bart.loss(CONFIG, params, rows | {"weights": jnp.tile(jnp.array(each), (3, 1))})
        for each in ([1.0, 0, 0], [0, 0, 2.0], [1.0, 0, 2.0])
    )
    np.testing.assert_allclose(first + last, both, rtol=1e-5)
