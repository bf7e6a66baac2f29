"""Which window is chosen, by made-up prices and luck."""

from itertools import pairwise

import pytest

from model_core.sampler.window import PROBE_EVERY, WINDOWS, Windows

FLAT = dict.fromkeys(WINDOWS, 1.0)  # steps that are bound by weights
DEAR = {window: float(window) for window in WINDOWS}  # steps that are bound by arithmetic


def windows(prices: dict[int, float], rows: int = 2) -> Windows:
    made = Windows(WINDOWS)
    for window, seconds in prices.items():
        made.set_price(rows, window, seconds)
    return made


def drawn(chosen: Windows, codes_of: dict[int, float], turns: int, rows: int = 2) -> list[int]:
    """The windows of so many turns of 16 codes, in which steps draw what `codes_of` says."""
    used = []
    for _ in range(turns):
        window, steps = chosen.plan(rows, 16)
        used.append(window)
        chosen.learn(window, steps, max(steps, round(steps * codes_of[window])))
    return used


GOOD = {window: window**0.65 for window in WINDOWS}
BAD = dict.fromkeys(WINDOWS, 1.0)


def test_the_widest_is_chosen_where_it_costs_no_more():
    assert set(drawn(windows(FLAT), GOOD, 50)[10:]) == {32}


def test_one_is_chosen_where_steps_cost_as_much_as_their_windows():
    used = drawn(windows(DEAR), GOOD, 50)
    assert used.count(1) >= 47 and max(used) == 4  # three times it was tried


def test_one_is_chosen_soon_where_guesses_are_wrong():
    used = drawn(windows({1: 1.0, 4: 1.1, 8: 1.4, 16: 2.4, 32: 4.0}), BAD, 100)
    assert sum(window > 1 for window in used[:10]) <= 5
    assert used.count(1) >= 88  # of ten images; every 16th turn is a single step that tries


def test_what_pays_most_is_between():
    assert drawn(windows({1: 1.0, 4: 1.1, 8: 1.3, 16: 3.5, 32: 9.0}), GOOD, 50)[-1] == 8


def test_now_and_then_one_step_tries_again_and_better_luck_is_noticed():
    chosen = windows({1: 1.0, 4: 1.1, 8: 1.4, 16: 2.4, 32: 4.0})
    drawn(chosen, BAD, 100)
    turns = [chosen.plan(2, 16) for _ in range(2 * PROBE_EVERY // 16 + 2)]
    assert [turn for turn in turns if turn[0] > 1] == [(4, 1)] * 2
    assert drawn(chosen, GOOD, 2000)[-1] > 4


def test_windows_that_are_nearly_as_good_are_not_changed_for():
    """What is learnt goes up and down, and two windows are worth the same."""
    prices = {1: 1.0, 4: 1.2, 8: 4**-0.65 * 8**0.65 * 1.2, 16: 9.0, 32: 99.0}
    chosen = windows(prices)
    used = []
    for turn in range(400):
        window, steps = chosen.plan(2, 16)
        used.append(window)
        chosen.learn(window, steps, max(steps, round(steps * window ** (0.6 + 0.1 * (turn % 2)))))
    assert sum(a != b for a, b in pairwise(used[20:])) <= 2


def test_each_number_of_rows_has_its_own():
    chosen = windows(FLAT)
    for window, seconds in DEAR.items():
        chosen.set_price(16, window, seconds)
    drawn(chosen, GOOD, 20)
    assert chosen.plan(2, 16)[0] == chosen.window == 32
    assert chosen.plan(16, 16)[0] == chosen.window == 1
    assert chosen.plan(2, 16)[0] == 32


def test_a_turn_is_about_so_many_codes_and_one_step_at_least():
    chosen = windows(FLAT)
    drawn(chosen, GOOD, 100)
    assert chosen.codes_a_step(32) == pytest.approx(GOOD[32], rel=0.1)
    assert chosen.plan(2, 19) == (32, 2)
    assert chosen.plan(2, 1) == (32, 1)


@pytest.mark.parametrize("window", [1, 8])
def test_one_window_leaves_no_choice_and_needs_no_prices(window):
    chosen = Windows([window])
    assert chosen.plan(2, 5)[0] == window
    assert drawn(chosen, dict.fromkeys(WINDOWS, 1.0), 1000) == [window] * 1000
    assert chosen.plan(2, 5) == (window, 5)


def test_nothing_is_tried_before_prices_are_known():
    assert Windows(WINDOWS).plan(2, 7) == (1, 7)
