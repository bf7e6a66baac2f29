"""Sequences that share rows: each gets what it would get alone, and nothing is compiled for them."""

import itertools
from collections import deque
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import NotFinite
from model_core.sampler import decode_loop
from model_core.sampler.rows import Rows, draw_all
from model_core.sampler.sequence import Sampling, Sequence


def join(rows: Rows, sequence: Sequence, **changes) -> Sequence:
    """A copy of the sequence, on the device."""
    copy = replace(sequence, **changes)
    rows.check(copy)
    rows.join(copy)
    return copy


def finish(rows: Rows, steps: int = 9) -> None:
    while rows.num_taken:
        rows.advance(steps)
    while rows.num_turns:
        rows.read()


def fixed_where(is_fixed: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.where(is_fixed, codes, -1).astype(np.int32)


def test_the_images_of_these_tests_are_different_ones(alone):
    assert len({tuple(codes) for codes in alone}) == len(alone)
    assert all(len(set(codes)) >= 4 for codes in alone)


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_batch_composition_and_portions_of_steps_change_nothing(sampler_rows, draw, sequences, alone, steps):
    """Over fewer rows or positions a code might differ where two are within rounding of each other; none of these are.

    So a turn that is one program draws what single steps draw.
    """
    np.testing.assert_array_equal(draw(sampler_rows, sequences, steps), alone)
    np.testing.assert_array_equal(draw(sampler_rows, sequences[::-1], steps)[::-1], alone)
    np.testing.assert_array_equal(draw(sampler_rows, sequences[-1:], steps), alone[-1:])


def test_without_guidance_twice_as_many_have_room(sampler_rows, draw, sequences, alone):
    free = [replace(sequence, sampling=Sampling(), uncondition=None) for sequence in sequences]
    free_alone = [draw(sampler_rows, [sequence])[0] for sequence in free]
    joined = []
    for sequence in free[:4]:
        assert sampler_rows.has_room(sequence)
        joined.append(join(sampler_rows, sequence))
    assert sampler_rows.num_taken == sampler_rows.max_rows
    assert not sampler_rows.has_room(free[4])
    for sequence in joined:
        sampler_rows.leave(sequence)
    np.testing.assert_array_equal(draw(sampler_rows, [*free, *sequences]), [*free_alone, *alone])


def test_who_leaves_early_disturbs_nobody(sampler_rows, sequences, alone):
    first, second = (join(sampler_rows, sequence) for sequence in sequences[:2])
    sampler_rows.advance(3)
    sampler_rows.leave(first)
    sampler_rows.advance(1)
    third = join(sampler_rows, sequences[2])
    finish(sampler_rows, 4)
    np.testing.assert_array_equal([second.codes, third.codes], alone[1:3])
    np.testing.assert_array_equal(first.codes[:3], alone[0][:3])  # its turn was read after it had left
    assert sampler_rows.num_taken == 0


def test_rows_are_given_on_at_once_and_turns_are_read_in_their_order(sampler_rows, sequences, alone):
    """The last turn of the first image is still unread when the second has its rows."""
    first = join(sampler_rows, sequences[0])
    sampler_rows.advance(9)
    assert first.slot is None and sampler_rows.num_taken == 0 and (first.codes == -1).all()
    second = join(sampler_rows, sequences[1])
    sampler_rows.advance(5)
    assert second.slot and second.slot.rows == (0, 1)  # those of the first
    assert sampler_rows.num_turns == 2
    assert sampler_rows.read() == 9
    np.testing.assert_array_equal(first.codes, alone[0])
    assert (first.position, second.position) == (9, 0)
    assert sampler_rows.read() == 5
    np.testing.assert_array_equal(second.codes, [*alone[1][:5], -1, -1, -1, -1])
    finish(sampler_rows)
    np.testing.assert_array_equal([first.codes, second.codes], alone[:2])


@settings(max_examples=10, deadline=None)
@given(which=st.integers(0, 5), stays=st.lists(st.integers(1, 4), max_size=3), others=st.integers(0, 1))
def test_who_gives_way_draws_what_it_draws_alone(sampler_rows, sequences, alone, which, stays, others):
    """It comes back to other rows, or after others have had its own."""
    rows = sampler_rows
    mine = replace(sequences[which])
    rows.check(mine)
    for stay in stays:
        if mine.position < 9:
            rows.join(mine)
            rows.advance(stay)
            while rows.num_turns:
                rows.read()
        if mine.slot is not None:
            rows.park(mine)
            assert bool(mine.parked) == rows.is_deterministic
            between = [join(rows, sequence) for sequence in sequences[: 2 - others]]
            finish(rows)
            np.testing.assert_array_equal([one.codes for one in between], alone[: 2 - others])
            if others and mine.position < 9:  # somebody sits where it sat
                stranger = join(rows, sequences[3])
                rows.advance(1)
                rows.read()
                rows.join(mine)
                finish(rows)
                np.testing.assert_array_equal(stranger.codes, alone[3])
    if mine.position < 9:
        rows.join(mine)
        finish(rows)
    np.testing.assert_array_equal(mine.codes, alone[which])
    assert rows.num_taken == rows.compiles.count == 0 and not mine.parked


@pytest.mark.parametrize("window", [1, 4])
def test_the_rows_of_who_gave_way_are_the_same_bits(make_rows, sequences, window):
    def state_after(stays: list[int]) -> list[np.ndarray]:
        rows = make_rows("all rows", window=window)
        mine = join(rows, sequences[0])
        for place, codes in enumerate(stays):
            if place:
                rows.park(mine)
                other = join(rows, sequences[1])
                rows.advance(2)
                rows.read()
                rows.join(mine)
                rows.leave(other)
            rows.advance(codes)
            rows.read()
        row = mine.slot.rows[0]
        return [np.asarray(leaf[row]) for leaf in jax.tree.leaves(rows._drawing)]

    for leaf, undisturbed in zip(state_after([2, 2, 2]), state_after([6]), strict=True):
        np.testing.assert_array_equal(leaf, undisturbed)


@settings(max_examples=25, deadline=None)
@given(
    visits=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=8),
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_whoever_comes_and_goes_draws_what_it_draws_alone(sampler_rows, sequences, alone, visits, steps):
    """Each visit is a sequence and the number of turns for which it stays; no row is ever two's."""
    rows, waiting, here = sampler_rows, deque(visits), {}
    for turn in itertools.cycle(steps):
        while waiting and rows.has_room(sequences[waiting[0][0]]):
            which, turns = waiting.popleft()
            here[join(rows, sequences[which])] = which, turns
        is_drawing = rows.num_taken > 0
        if is_drawing:
            rows.advance(turn)
        taken = [row for sequence in here if sequence.slot for row in sequence.slot.rows]
        assert len(set(taken)) == len(taken) == rows.num_taken
        if rows.num_turns > (is_drawing and rows.runs_ahead):
            rows.read()
        for sequence, (which, turns) in list(here.items()):
            here[sequence] = which, turns - 1
            position = sequence.position
            np.testing.assert_array_equal(sequence.codes[:position], alone[which][:position])
            assert (sequence.codes[position:] == -1).all()
            if position == 9 or turns == 1:
                rows.leave(sequence)
                del here[sequence]
        if not (waiting or here or rows.num_turns):
            break
    assert rows.num_taken == rows.compiles.count == 0


@pytest.mark.parametrize("length", [1, 3, 8])
def test_a_fixed_prefix_is_read_at_once_and_followed(sampler_rows, sequences, alone, length):
    for sequence, expected in zip(sequences[4:], alone[4:], strict=True):
        primed = join(sampler_rows, sequence, fixed_codes=fixed_where(np.arange(9) < length, expected))
        assert primed.position == length
        sampler_rows.advance(9)
        assert sampler_rows.read() == 9 - length
        np.testing.assert_array_equal(primed.codes, expected)


def test_fixed_codes_stay_and_what_comes_before_them_too(sampler_rows, draw, sequences, alone):
    fixed = np.full(9, -1, np.int32)
    fixed[[5, 8]] = (alone[0][[5, 8]] + 1) % 19
    (codes,) = draw(sampler_rows, [replace(sequences[0], fixed_codes=fixed)])
    np.testing.assert_array_equal(codes[[5, 8]], fixed[[5, 8]])
    np.testing.assert_array_equal(codes[:5], alone[0][:5])


def test_codes_that_are_fixed_as_they_would_be_drawn_change_nothing(sampler_rows, draw, sequences, alone):
    fixed = fixed_where(np.isin(np.arange(9), [0, 1, 5]), alone[0])
    np.testing.assert_array_equal(draw(sampler_rows, [replace(sequences[0], fixed_codes=fixed)]), alone[:1])


def test_a_text_is_read_once(make_rows, draw, sequences, monkeypatch):
    rows = make_rows("all rows")
    read = []
    read_text = rows._read_text
    monkeypatch.setattr(rows, "_read_text", lambda condition: read.append(condition.key) or read_text(condition))
    for _ in range(2):
        draw(rows, [sequences[0], sequences[3], sequences[0]])  # one text and one unconditional one
    assert len(read) == len(set(read)) == 2


def test_texts_that_nobody_uses_are_dropped(make_rows, draw, sequences):
    """There is room for those of two images and for no text at all; the one that was used last is kept longest."""
    rows = make_rows("all rows")
    draw(rows, sequences[:3])
    assert set(rows._texts) == {sequences[0].uncondition.key, *(one.condition.key for one in sequences[1:3])}


def test_near_ties_are_counted_once_for_each_code_that_is_drawn(make_rows, sequences, monkeypatch):
    """Here every margin counts as one: those of fixed codes do not, nor does the second row of an image."""
    monkeypatch.setattr(decode_loop, "NEAR_TIE", np.inf)
    rows = make_rows("all rows", num_codes=17)  # a program of its own
    fixed = np.array([3, 4, -1, -1, -1, -1, 5, -1, -1], np.int32)
    primed, free = join(rows, sequences[0], fixed_codes=fixed), join(rows, sequences[1])
    finish(rows, 4)
    np.testing.assert_array_equal(primed.near_ties, fixed == -1)
    assert free.near_ties.all()
    assert rows.num_near_ties == 6 + 9


def test_draw_all_draws_as_there_is_room_a_row_of_codes_at_a_time(sampler_rows, sequences, alone):
    copies = [replace(sequence) for sequence in sequences]
    copies[2].fixed_codes = alone[2]  # nothing to draw
    told = [[place for place, _ in drawn] for drawn in draw_all(sampler_rows, copies)]
    assert told == [[0, 1]] * 3 + [[3, 4]] * 3 + [[5]] * 3
    np.testing.assert_array_equal([sequence.codes for sequence in copies], alone)


def test_draw_all_that_is_left_early_gives_its_rows_back(sampler_rows, sequences):
    drawing = draw_all(sampler_rows, [replace(sequence) for sequence in sequences])
    ((_, first), _) = next(drawing)
    assert first.position == 3
    drawing.close()
    assert sampler_rows.num_taken == sampler_rows.num_turns == 0


def test_what_is_not_finite_is_told_where_its_turn_is_read(make_rows, sequences, monkeypatch):
    """Of the codes that are drawn; those that were given do not matter, and neither do other sequences' later ones."""
    rows = make_rows("all rows")
    fine = join(rows, sequences[0])
    rows.advance(3)
    weights = jax.tree.map(lambda leaf: leaf * jnp.nan, rows._weights)
    monkeypatch.setattr(rows, "_weights", weights)
    rows.advance(3)
    assert rows.read() == 3 and (fine.codes[:3] >= 0).all()
    with pytest.raises(NotFinite, match="token sampler computed logits"):
        rows.read()
    assert fine.position == 3 and (fine.codes[3:] == -1).all()


def test_nothing_is_compiled_after_the_warm_up(sampler_rows, draw, sequences):
    """For any number of steps, and whoever comes."""
    draw(sampler_rows, sequences)
    primed = replace(sequences[0], fixed_codes=np.array([3, 4] + [-1] * 7, np.int32))
    for steps in range(1, 10):
        draw(sampler_rows, [primed, sequences[5]], steps=steps)
    assert sampler_rows.compiles.count == 0


def test_a_warm_up_leaves_what_is_being_drawn(sampler_rows, sequences, alone):
    begun = join(sampler_rows, sequences[0])
    sampler_rows.advance(4)
    sampler_rows.warm_up()
    finish(sampler_rows)
    np.testing.assert_array_equal(begun.codes, alone[0])
