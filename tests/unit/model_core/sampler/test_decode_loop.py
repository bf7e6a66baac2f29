"""The step and turns of it, without anything that decides whose rows they are."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.families.conditions import Condition
from model_core.families.dalle_bart import family as dalle_bart
from model_core.sampler.compile_counter import CompileCounter
from model_core.sampler.decode_loop import Drawing, Images, Model, take_turn, unpack
from model_core.sampler.sampling import stacked
from model_core.sampler.sequence import FREE, Sampling

LENGTH = 9
TINY = dalle_bart.DalleBartConfig(
    encoder_vocab_size=4,
    image_vocab_size=20,
    image_length=4,
    max_text_length=2,
    d_model=8,
    encoder_layers=1,
    encoder_attention_heads=2,
    encoder_ffn_dim=4,
    decoder_layers=1,
    decoder_attention_heads=2,
    decoder_ffn_dim=12,
    decoder_start_token_id=20,
    eos_token_id=21,
)


def begin(config, weights, conditions, codes=None) -> Drawing:
    """A row for each condition, at position 0."""
    values, mask = (np.stack([getattr(one, name) for one in conditions]) for name in ("values", "mask"))
    shape = len(conditions), config.image_length
    codes = np.full(shape, FREE, np.int32) if codes is None else codes.astype(np.int32)
    text = dalle_bart.read_text(config, weights, jnp.asarray(values), jnp.asarray(mask))
    state = dalle_bart.prefill(config, weights, text, jnp.zeros((shape[0], 0), jnp.int32))
    return Drawing(
        state, jnp.zeros(shape[0], jnp.int32), jnp.asarray(codes), jnp.full(shape, FREE), jnp.zeros(shape, bool)
    )


@pytest.fixture(scope="module")
def start(small, tiny_conditions):
    """Three images under guidance: their texts first, then the unconditional ones."""
    model, weights = Model(dalle_bart, small.config, 20), dalle_bart.step_weights(small.params)
    first = jnp.arange(3)
    images = Images(
        count=None,
        row=first,
        uncond=first + 3,
        settings=stacked([Sampling(guidance_scale=3.0)] * 3),
        seed=jnp.asarray([1, 2, 3], jnp.uint32),
        noise=None,
        of_row=jnp.arange(6) % 3,
    )
    conditions = tiny_conditions.prompts + tiny_conditions.unconditional
    return lambda codes=None: (model, weights, begin(small.config, weights, conditions, codes), images)


def drawn(started, portions, as_loop=False, window=1) -> np.ndarray:
    """The codes after turns of so many steps."""
    model, weights, drawing, images = started
    for steps in portions:
        drawing, packed = take_turn(model, weights, drawing, images, steps, LENGTH, window, as_loop=as_loop)
    return unpack(packed)[0]


@pytest.fixture(scope="module")
def at_once(start) -> np.ndarray:
    return drawn(start(), [LENGTH])


@pytest.mark.parametrize("as_loop", [False, True])
@pytest.mark.parametrize("portions", [[9], [1, 4, 0, 4], [2] * 5])
def test_steps_in_any_portions_are_the_same(start, at_once, portions, as_loop):
    np.testing.assert_array_equal(drawn(start(), portions, as_loop), at_once)


def test_one_program_takes_any_number_of_steps(start, at_once):
    counter, begun = CompileCounter(), [start() for _ in range(4)]
    drawn(begun.pop(), [1], as_loop=True)
    with counter.watch():
        for portions in ([9], [1, 2, 6], [3, 0, 4, 2]):
            np.testing.assert_array_equal(drawn(begun.pop(), portions, as_loop=True), at_once)
    assert counter.count == 0


@pytest.mark.parametrize("as_loop", [False, True])
@pytest.mark.parametrize("window", [2, 4, LENGTH])
def test_steps_of_several_codes_draw_what_steps_of_one_draw(start, at_once, window, as_loop):
    """Each draws one at least, so that as many steps as there are codes are enough, whatever is guessed."""
    np.testing.assert_array_equal(drawn(start(), [1, 3, 5], as_loop, window), at_once)


@pytest.mark.parametrize("window", [2, 4, LENGTH])
def test_what_a_step_keeps_is_right_and_the_rest_stays_to_be_drawn(start, at_once, window):
    """After each step; codes that are given may lie anywhere."""
    given = np.where(np.isin(np.arange(LENGTH), [1, 5, 6, LENGTH - 1]), at_once, FREE)
    model, weights, drawing, images = start(given)
    before = np.zeros(6, int)
    while (before < LENGTH).any():
        drawing, packed = take_turn(model, weights, drawing, images, 1, LENGTH, window, as_loop=False)
        codes, _, position = unpack(packed)
        assert (np.minimum(before + 1, LENGTH) <= position).all() and (
            position <= np.minimum(before + window, LENGTH)
        ).all()
        is_known = np.arange(LENGTH) < position[:, None]
        np.testing.assert_array_equal(codes, np.where(is_known, at_once, given))
        before = position


def test_codes_that_are_given_need_no_step_of_their_own(start, at_once):
    """All but the last are given: one step of a window takes rows to the end."""
    given = np.where(np.arange(LENGTH) < LENGTH - 1, at_once, FREE)
    np.testing.assert_array_equal(drawn(start(given), [1], window=LENGTH), at_once)


@pytest.mark.parametrize("window", [1, 3])
def test_right_guesses_are_all_kept_and_wrong_ones_end_a_step(start, at_once, window):
    """A guess that is wrong at place 4 is found out when place 5 is drawn."""
    model, weights, drawing, images = start()
    guesses = at_once.copy()
    guesses[:, 4] = (at_once[:, 4] + 1) % 19
    positions = []
    drawing = replace(drawing, guesses=jnp.asarray(guesses))
    for _ in range(3):
        drawing, packed = take_turn(model, weights, drawing, images, 1, LENGTH, window, as_loop=False)
        positions.append(unpack(packed)[2].tolist())
    assert positions == [[place] * 6 for place in ([1, 2, 3] if window == 1 else [3, 5, 8])]


@pytest.mark.parametrize("as_loop", [False, True])
def test_codes_to_come_are_marked(start, at_once, as_loop):
    codes = drawn(start(), [4], as_loop)
    assert (codes[:, 4:] == FREE).all()
    np.testing.assert_array_equal(codes[:, :4], at_once[:, :4])


def test_the_rows_of_an_image_take_the_same_codes(at_once):
    np.testing.assert_array_equal(at_once[:3], at_once[3:])
    assert len({tuple(row) for row in at_once}) == 3


@pytest.mark.parametrize("as_loop", [False, True])
@pytest.mark.parametrize("window", [1, 4])
def test_rows_at_their_end_stay_there(start, at_once, window, as_loop):
    np.testing.assert_array_equal(drawn(start(), [LENGTH, 2], as_loop, window), at_once)


def test_codes_that_are_given_are_kept_and_followed(start, at_once):
    """What is drawn after a given code is what is drawn after the same code drawn."""
    given = np.where(np.isin(np.arange(LENGTH), [0, 1, 5]), at_once, FREE)
    np.testing.assert_array_equal(drawn(start(given), [LENGTH]), at_once)
    given[:, 5] = (at_once[:, 5] + 1) % 19
    codes = drawn(start(given), [LENGTH])
    np.testing.assert_array_equal(codes[:, :5], at_once[:, :5])
    np.testing.assert_array_equal(codes[:, 5], given[:, 5])


def test_rows_without_an_image_change_nothing_and_need_not_be_drawn(start, at_once):
    """Six places for three images: half of them are drawn, or all."""
    model, weights, drawing, images = start()
    half = jnp.asarray(3, jnp.int32)
    wide = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[::-1]]), replace(images, of_row=images.of_row[:3]))
    wide = replace(wide, of_row=images.of_row)
    for count in (half, half + 1):
        started = model, weights, jax.tree.map(jnp.copy, drawing), replace(wide, count=count)
        np.testing.assert_array_equal(drawn(started, [LENGTH]), at_once)


def test_noise_that_is_given_is_used_in_place_of_the_seeds(start, at_once):
    """Where one code has all the noise, it is drawn; eos is not, whatever its noise."""
    model, weights, drawing, images = start()
    wanted = np.random.default_rng(0).integers(0, 20, (3, LENGTH))
    noise = jax.nn.one_hot(wanted, 20) * 1e6
    codes = drawn((model, weights, drawing, replace(images, noise=noise)), [LENGTH])[:3]
    is_code = wanted != 19
    assert (~is_code).any() and (codes != 19).all()
    np.testing.assert_array_equal(codes[is_code], wanted[is_code])


def test_codes_after_other_roundings_differ_first_at_a_near_tie():
    """Weights that are off by a little stand for other roundings; logits are small, for near ties to be frequent."""
    count, config = 300, TINY
    rng = np.random.default_rng(0)
    shapes = dalle_bart.param_shapes(config)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * 0.3, shapes)
    params["lm_head"]["kernel"] *= 0.03
    off = jax.tree.map(lambda leaf: leaf * rng.uniform(0.998, 1.002, leaf.shape).astype(np.float32), params)
    conditions = [
        Condition(rng.normal(size=(2, config.d_model)).astype(np.float32), np.ones(2, np.int32)) for _ in range(count)
    ]
    rows = jnp.arange(count)
    images = Images(
        count=None,
        row=rows,
        uncond=rows,
        settings=stacked([Sampling()] * count),
        seed=rows.astype(jnp.uint32),
        noise=jnp.zeros((count, 4, 20)),
        of_row=rows,
    )

    def draw(params):
        weights = dalle_bart.step_weights(jax.tree.map(jnp.asarray, params))
        drawing = begin(config, weights, conditions)
        _, packed = take_turn(Model(dalle_bart, config, 20), weights, drawing, images, 4, 4, 1, as_loop=False)
        return unpack(packed)[:2]

    (codes, near_ties), (codes_off, _) = draw(params), draw(off)
    differs = codes != codes_off
    touched = differs.any(1)
    assert 3 <= touched.sum() < near_ties.any(1).sum() < count / 2
    assert near_ties[touched, differs[touched].argmax(1)].all()


def test_what_is_packed_is_told_apart_again():
    codes, near_ties = np.array([[0, 5, FREE], [16383, 0, FREE]]), np.array([[1, 0, 0], [1, 0, 0]], bool)
    positions = np.array([[2], [1]])
    got_codes, got_near_ties, got_positions = unpack(jnp.concatenate([codes * 2 + near_ties, positions], axis=1))
    np.testing.assert_array_equal(got_positions, [2, 1])
    np.testing.assert_array_equal(got_codes, codes)
    np.testing.assert_array_equal(got_near_ties[:, :2], near_ties[:, :2])
