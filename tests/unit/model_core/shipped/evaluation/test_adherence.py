"""What choosing among draws buys, on judgements made by hand."""

import numpy as np
import pytest

from model_core.shipped.evaluation.adherence import adherence, best_draws, share_of_blanks


def test_the_best_of_each_group_is_chosen_by_score():
    scores = np.array([[0, 3, 2, 1, 9, 9, 7, 8, 5]], np.float32)
    assert best_draws(scores, 1).tolist() == [list(range(9))]
    assert best_draws(scores, 4).tolist() == [[1, 4]]  # the ninth draw fills no group
    assert best_draws(scores, 9).tolist() == [[4]]


def test_all_draws_count_for_every_best_of():
    """Two prompts, four draws: draws 0 and 1 of the first are right, all of the second; scores prefer the right."""
    right = np.array([[True, True, False, False], [True] * 4])
    logits = np.stack([np.where(right, 1.0, -1.0), np.zeros((2, 4))], axis=-1)
    scores = np.array([[2, 1, 4, 3], [1, 2, 3, 4]], np.float32)  # of the first prompt, the wrong ones
    found = {each.best_of: each for each in adherence(logits, np.array([0, 0]), scores, [1, 2, 4])}
    assert found[1].top_1 == pytest.approx(0.75)
    assert found[2].top_1 == pytest.approx(0.75)  # one group right, one wrong; both right
    assert found[4].top_1 == pytest.approx(0.5)
    assert found[4].gain == pytest.approx(-0.25)
    assert found[1].gain == 0 and found[1].gain_interval == (0, 0)
    assert found[4].top_5 == 1
    low, high = found[4].top_1_interval
    assert low <= 0.5 <= high


def test_blanks_are_counted():
    images = np.full((4, 20, 20, 3), 255, np.uint8)
    images[0, :10] = 0
    images[1, 0, 0] = 0  # a speck
    assert share_of_blanks(images) == 0.75
