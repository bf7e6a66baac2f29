"""Jobs that share rows: each gets what it would get alone, and nothing is compiled for them."""

import dataclasses
import itertools
from collections.abc import Callable

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.families.dalle_bart import family as dalle_bart
from model_core.sampler import rows as engine_rows
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import SamplerJob

NUM_CODES = 20


@pytest.fixture(scope="module")
def small(tiny_dalle_bart):
    """The tiny model with one decoder layer, for the many programs that are compiled here."""
    config, params = tiny_dalle_bart
    layers = params["model"]["decoder"]["layers"]
    one_layer = jax.tree.map(lambda leaf: leaf[:1], layers)
    decoder = params["model"]["decoder"] | {"layers": one_layer}
    params = params | {"model": params["model"] | {"decoder": decoder}}
    return type(tiny_dalle_bart)(dataclasses.replace(config, decoder_layers=1), params)


@pytest.fixture(scope="module")
def make_rows(small) -> Callable[[bool], Rows]:
    """Rows for two images under guidance, 9 positions in blocks of 3."""
    weights = dalle_bart.decoder_weights(small.params)
    return lambda deterministic: Rows(
        small.config, weights, num_codes=NUM_CODES, max_rows=4, deterministic=deterministic
    )


@pytest.fixture(scope="module")
def exact_rows(make_rows) -> Rows:
    """Always 4 rows and 12 blocks, as `generate` has for two images under guidance."""
    rows = make_rows(True)
    rows.warm_up()
    return rows


@pytest.fixture(scope="module")
def fitted_rows(make_rows) -> Rows:
    """2 or 4 rows, and as many blocks as are needed."""
    rows = make_rows(False)
    rows.warm_up()
    return rows


@pytest.fixture(scope="module")
def jobs(small, tiny_text) -> list[SamplerJob]:
    """Six images of three texts, the last one without guidance."""
    config, params = small
    states = np.asarray(dalle_bart.encode(config, params, tiny_text.tokens, tiny_text.mask))
    uncond = np.asarray(dalle_bart.encode(config, params, tiny_text.tokens_uncond, tiny_text.mask_uncond))
    settings = [
        {},
        {"temperature": 0.5},
        {"top_k": 3},
        {"guidance_scale": 2.0},
        {"top_p": 0.8},
        {"guidance_scale": 1.0},
    ]
    return [
        SamplerJob(
            states=states[i % 3],
            mask=tiny_text.mask[i % 3],
            uncond_states=uncond[0],
            uncond_mask=tiny_text.mask_uncond[0],
            seed=i,
            **({"guidance_scale": 3.0} | settings[i]),
        )
        for i in range(6)
    ]


def draw(rows: Rows, jobs: list[SamplerJob], steps: int = 3) -> list[np.ndarray]:
    """All jobs, each as soon as there is room."""
    waiting = [(index, rows.check(job)) for index, job in enumerate(jobs)]
    seats, done = {}, {}
    while waiting or seats:
        while waiting and rows.has_room(waiting[0][1]):
            index, job = waiting.pop(0)
            seats[index] = rows.join(job)
        rows.advance(steps)
        for index, seat in list(seats.items()):
            if seat.position == seat.codes.size:
                done[index] = seat.codes
                rows.leave(seats.pop(index))
    return [done[index] for index in range(len(jobs))]


@pytest.fixture(scope="module")
def alone(exact_rows, jobs) -> list[np.ndarray]:
    return [draw(exact_rows, [job])[0] for job in jobs]


def test_rows_draw_what_the_static_driver_draws(small, tiny_text, alone):
    """To the last code: both run one compiled step over as many rows."""
    expected = dalle_bart.generate(
        *small,
        *tiny_text.rows(0, 1),
        guidance_scale=3.0,
        temperature=[1.0, 0.5],
        seeds=[0, 1],
        num_codes=NUM_CODES,
    )
    np.testing.assert_array_equal(alone[:2], expected)


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_company_changes_nothing(exact_rows, jobs, alone, steps):
    np.testing.assert_array_equal(draw(exact_rows, jobs, steps), alone)
    np.testing.assert_array_equal(draw(exact_rows, jobs[::-1], steps)[::-1], alone)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_fewer_rows_and_blocks_draw_the_same(fitted_rows, jobs, alone, steps):
    """Here a code might differ where two are within rounding of each other; none of these are."""
    np.testing.assert_array_equal(draw(fitted_rows, jobs, steps), alone)
    np.testing.assert_array_equal(draw(fitted_rows, jobs[-1:], steps), alone[-1:])


@pytest.mark.parametrize("max_rows", [2, 3, 4, 10, 17, 33])
def test_there_are_shapes_for_one_block_a_row_and_for_all(max_rows):
    sizes = engine_rows._sizes(max_rows, parts=4)
    assert list(sizes) == sorted(sizes) and list(sizes)[-1] == max_rows
    for count, blocks in sizes.items():
        assert blocks == sorted(set(blocks)) and (blocks[0], blocks[-1]) == (count, 4 * count)


def test_without_guidance_twice_as_many_have_room(exact_rows, jobs, alone):
    free = [dataclasses.replace(job, guidance_scale=1.0) for job in jobs]
    free_alone = [draw(exact_rows, [job])[0] for job in free]
    seats = []
    for job in map(exact_rows.check, free[:4]):
        assert exact_rows.has_room(job)
        seats.append(exact_rows.join(job))
    assert not exact_rows.has_room(exact_rows.check(free[4]))
    for seat in seats:
        exact_rows.leave(seat)
    np.testing.assert_array_equal(draw(exact_rows, [*free, *jobs]), [*free_alone, *alone])


def test_who_leaves_early_disturbs_nobody(fitted_rows, jobs, alone):
    first, second = (fitted_rows.join(fitted_rows.check(job)) for job in jobs[:2])
    fitted_rows.advance(3)
    fitted_rows.leave(first)
    fitted_rows.advance(1)
    third = fitted_rows.join(fitted_rows.check(jobs[2]))
    for _ in range(3):
        fitted_rows.advance(4)
    np.testing.assert_array_equal([second.codes, third.codes], alone[1:3])
    for seat in (second, third):
        fitted_rows.leave(seat)
    assert fitted_rows.num_taken == 0


@settings(max_examples=25, deadline=None)
@given(
    visits=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=8),
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_whoever_comes_and_goes_draws_what_it_draws_alone(fitted_rows, jobs, alone, visits, steps):
    """Each visit is a job and the number of turns for which it stays; no block is ever anybody else's."""
    waiting, seats = list(visits), {}
    for turn in itertools.cycle(steps):
        while waiting and fitted_rows.has_room(fitted_rows.check(jobs[waiting[0][0]])):
            which, turns = waiting.pop(0)
            seats[fitted_rows.join(fitted_rows.check(jobs[which]))] = which, turns
        if not seats:
            break
        fitted_rows.advance(turn)
        taken = [block for seat in seats for blocks in seat.blocks for block in blocks]
        assert len(set(taken)) == len(taken)
        for seat, (which, turns) in list(seats.items()):
            seats[seat] = which, turns - 1
            np.testing.assert_array_equal(seat.codes[: seat.position], alone[which][: seat.position])
            if seat.position == seat.codes.size or turns == 1:
                fitted_rows.leave(seat)
                del seats[seat]
    assert fitted_rows.num_taken == fitted_rows.num_compiles == 0


@pytest.mark.parametrize("kind", ["exact_rows", "fitted_rows"])
@pytest.mark.parametrize("length", [1, 3, 8])
def test_a_fixed_prefix_is_read_at_once_and_followed(request, kind, jobs, alone, length):
    rows = request.getfixturevalue(kind)
    for job, expected in zip(jobs[4:], alone[4:], strict=True):
        fixed = np.where(np.arange(9) < length, expected, -1).astype(np.int32)
        seat = rows.join(rows.check(with_fixed(job, fixed)))
        assert seat.position == length
        assert rows.advance(9) == 9 - length
        rows.leave(seat)
        np.testing.assert_array_equal(seat.codes, expected)


def test_fixed_codes_stay_and_what_comes_before_them_too(exact_rows, jobs, alone):
    fixed = np.full(9, -1, np.int32)
    fixed[[5, 8]] = (alone[0][[5, 8]] + 1) % 19
    (codes,) = draw(exact_rows, [with_fixed(jobs[0], fixed)])
    np.testing.assert_array_equal(codes[[5, 8]], fixed[[5, 8]])
    np.testing.assert_array_equal(codes[:5], alone[0][:5])


def test_a_texts_keys_and_values_are_made_once(make_rows, jobs, monkeypatch):
    rows = make_rows(True)
    made = []
    make = rows._text
    monkeypatch.setattr(rows, "_text", lambda states: made.append(states) or make(states))
    for _ in range(2):
        draw(rows, [jobs[0], jobs[3], jobs[0]])  # one text and one unconditional one
    assert len(made) == 2


def test_nothing_is_compiled_after_the_warm_up(exact_rows, fitted_rows, jobs):
    for rows in (exact_rows, fitted_rows):
        before = rows.num_compiles
        draw(rows, jobs)
        draw(rows, [with_fixed(jobs[0], np.array([3, 4] + [-1] * 7, np.int32)), jobs[5]], steps=2)
        assert rows.num_compiles == before == 0


def with_fixed(job: SamplerJob, fixed: np.ndarray) -> SamplerJob:
    return dataclasses.replace(job, fixed_codes=fixed)
