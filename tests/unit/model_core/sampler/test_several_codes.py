"""Whatever a step tries to draw, a sequence gets the codes that it gets alone, one at a time.

Logits of several positions are added up in another order than those of one, so a code may differ where two are within
rounding of each other: what comes behind a near tie is not compared.
"""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core import bundles, families
from model_core.errors import InvalidValue
from model_core.families.conditions import Condition
from model_core.sampler import decode_loop
from model_core.sampler import rows as rows_module
from model_core.sampler.rows import Rows, draw_all
from model_core.sampler.sequence import Sampling, Sequence
from tests.unit.deployments.bigram import family as bigram
from tests.unit.deployments.bigram.config import BigramConfig

BIGRAM = BigramConfig(side=3, codebook=20, text_length=2)


class Alone(NamedTuple):
    """What a sequence is alone, one code at a time, as far as no near tie leaves it open."""

    codes: np.ndarray
    num_sure: int


class Setting(NamedTuple):
    """Rows that go through given windows, and the conditions of three texts and of none."""

    rows: Rows
    texts: list[Condition]
    nothing: Condition
    alone: Callable[..., Alone]


def draw_alone(rows: Rows, known: dict[Any, Alone], key: Any, sequence: Sequence) -> Alone:
    if key not in known:
        one = replace(sequence)
        for _ in draw_all(rows, [one]):
            pass
        known[key] = Alone(one.codes, int(np.append(one.near_ties, True).argmax()))
    return known[key]


def bigram_rows(**settings: Any) -> Rows:
    family: Any = bigram
    rng = np.random.default_rng(3)
    weights = {name: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32) for name, leaf in shapes.items()}
    return Rows(family, BIGRAM, weights, max_rows=4, **settings)


shapes = bigram.param_shapes(BIGRAM)


FEW_AS_LOOP = pytest.param("few rows, as a loop", marks=pytest.mark.exhaustive)


@pytest.fixture(scope="module", params=["all rows", "few rows", FEW_AS_LOOP, "bigram"])
def setting(request, make_rows, tiny_conditions) -> Setting:
    """Where there is a choice, the window is another one at each turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "WINDOWS", (1, 4, 9))
        patch.setattr(rows_module, "PARTS", 2)
        return of_kind(request.param, make_rows, tiny_conditions)


def of_kind(kind: str, make_rows: Any, tiny_conditions: Any) -> Setting:
    if kind == "bigram":
        letters = bigram.Letters(BIGRAM)
        texts, nothing = [letters(text)[0] for text in ("a", "bc", "!")], letters("")[0]
        rows, exact = bigram_rows(deterministic=False, window=None), bigram_rows(deterministic=True)
    else:
        texts, nothing = tiny_conditions.prompts, tiny_conditions.unconditional[0]
        rows = make_rows(kind, window=4 if kind == "all rows" else None)
        exact = make_rows("all rows")
    return Setting(rows, texts, nothing, partial(draw_alone, exact, {}))


samplings = st.builds(
    Sampling,
    guidance_scale=st.sampled_from([1.0, 3.0]),
    temperature=st.sampled_from([0.05, 1.0]),
    top_k=st.sampled_from([0, 3]),
    top_p=st.sampled_from([1.0, 0.8]),
)
fixed = st.lists(st.sampled_from([-1, -1, -1, 0, 7, 18]), min_size=9, max_size=9)
visits = st.tuples(st.integers(0, 2), st.integers(0, 1), samplings, fixed, st.integers(1, 9))


@settings(max_examples=8, deadline=None)
@given(
    visits=st.lists(visits, min_size=1, max_size=6),
    codes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    windows=st.lists(st.sampled_from([1, 4, 9]), min_size=1, max_size=4),
)
def test_windows_change_nothing(setting, visits, codes, windows):
    """A visit is a sequence and the number of turns after which it is given up; codes are fixed anywhere."""
    rows, waiting, here, turns = setting.rows, deque(visits), [], itertools.cycle(windows)
    for count in itertools.cycle(codes):
        while waiting:
            text, seed, sampling, given, stay = waiting[0]
            sequence = Sequence(
                condition=setting.texts[text],
                uncondition=setting.nothing,
                seed=seed,
                sampling=sampling,
                fixed_codes=np.array(given, np.int32),
            )
            rows.check(sequence)
            if not (sequence.codes < 0).any():
                waiting.popleft()
                continue
            if not rows.has_room(sequence):
                break
            rows.join(sequence)
            expected = setting.alone((text, seed, sampling, tuple(given)), sequence)
            here.append([sequence, expected, np.array(given), stay])
            waiting.popleft()
        if rows.num_taken:
            with pytest.MonkeyPatch.context() as patch:
                if len(rows._windows.windows) > 1:
                    patch.setattr(rows._windows, "plan", lambda _, codes: (next(turns), codes))
                rows.advance(count)
        if rows.num_turns > (rows.runs_ahead and rows.num_taken > 0):
            rows.read()
        for each in list(here):
            sequence, expected, given, _ = each
            sure = np.arange(9) < min(sequence.position, expected.num_sure)
            np.testing.assert_array_equal(sequence.codes[sure], expected.codes[sure])
            to_come = np.arange(9) >= sequence.position
            np.testing.assert_array_equal(sequence.codes[to_come], given[to_come])
            each[3] -= 1
            if sequence.position == 9 or not each[3]:
                rows.leave(sequence)
                here.remove(each)
        if not (waiting or here or rows.num_turns):
            break
    assert rows.num_taken == 0


def test_the_shipped_model_draws_its_pictures_in_fewer_steps():
    """Guided and not, with codes fixed in the middle; an image that knows its codes guesses most of them."""
    bundle = bundles.resolve("emoji")
    family, config, params = families.load(bundle.sampler)
    text, length = family.open_text(bundle.text), config.grid.num_codes
    fixed = np.where(np.arange(length) % 64 == 40, 7, -1).astype(np.int32)
    each = [
        Sequence(condition=text(prompt)[0], uncondition=text("")[0], seed=seed, sampling=sampling, fixed_codes=codes)
        for seed, (prompt, sampling, codes) in enumerate(
            [
                ("avocado", Sampling(**bundle.sampling), None),
                ("two dogs and a cat", Sampling(guidance_scale=2.5), fixed),
            ]
        )
    ]
    drawn, steps = [], []
    for window in (1, 8):
        weights = family.step_weights(params)
        rows = Rows(family, config, weights, max_rows=3, deterministic=True, window=window)
        copies = [replace(one) for one in each]
        for _ in draw_all(rows, copies):
            pass
        drawn.append([one.codes for one in copies])
        steps.append(rows.num_steps)
        assert rows.num_near_ties == 0  # so that roundings cannot matter
    np.testing.assert_array_equal(*drawn)
    assert steps[1] < steps[0] / 2


def test_near_ties_are_counted_once_for_each_code_that_is_kept(make_rows, sequences, monkeypatch):
    """Here every margin counts as one; codes that were drawn behind a wrong guess do not."""
    monkeypatch.setattr(decode_loop, "NEAR_TIE", np.inf)
    rows = make_rows("all rows", num_codes=17, window=5)  # a program of its own
    fixed = np.array([3, 4, -1, -1, -1, -1, 5, -1, -1], np.int32)
    primed, free = replace(sequences[0], fixed_codes=fixed), replace(sequences[1])
    for _ in draw_all(rows, [primed, free]):
        pass
    np.testing.assert_array_equal(primed.near_ties, fixed == -1)
    assert free.near_ties.all()
    assert rows.num_near_ties == 6 + 9
    assert 9 < rows.num_steps * 5 == rows.num_tried


def test_a_cold_bigram_is_drawn_in_fewer_steps_than_it_has_codes():
    """Where a code hardly depends on chance, guesses turn out right."""
    rows = bigram_rows(deterministic=True, window=9)
    letters = bigram.Letters(BIGRAM)
    cold = Sequence(condition=letters("a")[0], seed=1, sampling=Sampling(temperature=0.01))
    rows.check(cold)
    rows.join(cold)
    while rows.num_taken:
        rows.advance(1)
        rows.read()
    assert rows.num_steps < 9


def test_who_may_be_at_its_end_keeps_its_rows_until_that_is_read(make_rows, sequences):
    """Its first code is to be drawn, the others are there: the second step is the last, which nobody knows before."""
    rows = make_rows("few rows, as a loop", window=9)
    copy = replace(sequences[0], fixed_codes=np.array([-1, 3, 4, 5, 6, 7, 3, 4, 5], np.int32))
    rows.check(copy)
    rows.join(copy)
    rows.advance(1)
    assert copy.slot is not None and (copy.slot.position, copy.slot.furthest) == (1, 9)
    assert rows.read() == 1
    assert (copy.slot.position, copy.slot.furthest) == (1, 1)
    for position in (2, 3):
        rows.advance(1)
        assert copy.slot.position == position and rows.num_taken == 2
    assert rows.read() == 8
    assert copy.slot is None and rows.num_taken == 0 and (copy.codes >= 0).all()
    assert rows.read() == 0
    assert (rows.num_steps, rows.num_tried) == (2, 18)


def test_nothing_is_compiled_after_the_warm_up_whatever_window_pays(monkeypatch):
    monkeypatch.setattr(rows_module, "PARTS", 2)
    monkeypatch.setattr(rows_module, "WINDOWS", (1, 4))
    rows = bigram_rows(deterministic=False, window=None)
    rows.warm_up()
    letters = bigram.Letters(BIGRAM)
    for windows in ([1], [4], [1, 4]):
        turns = itertools.cycle(windows)
        monkeypatch.setattr(rows._windows, "plan", lambda _, codes, turns=turns: (next(turns), codes))
        each = [
            Sequence(condition=letters(text)[0], seed=1, fixed_codes=np.array([2, *[-1] * 8], np.int32))
            for text in "abc"
        ]
        for _ in draw_all(rows, each):
            pass
    assert rows.compiles.count == 0


@pytest.mark.parametrize(("kind", "window"), [("all rows", None), ("all rows", 0), ("few rows", -1)])
def test_a_window_that_cannot_be_is_refused(make_rows, kind, window):
    with pytest.raises(InvalidValue, match="window"):
        make_rows(kind, window=window)
