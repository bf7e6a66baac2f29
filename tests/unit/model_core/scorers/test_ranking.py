"""Ranking: best first, whatever the scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_core.errors import NotFinite
from model_core.scorers.ranking import RankedImage, best, rank


def image(seed: int, score: float | None) -> RankedImage:
    return RankedImage(np.zeros((1, 1, 3), np.uint8), np.zeros(1, np.int32), seed, score)


@given(st.lists(st.floats(allow_infinity=False, allow_nan=False) | st.none(), max_size=20))
def test_an_order_is_a_permutation_best_first_equal_in_place_unscored_last(scores):
    order = [ranked.seed for ranked in rank(image(i, score) for i, score in enumerate(scores))]
    assert sorted(order) == list(range(len(scores)))
    scored = [i for i, score in enumerate(scores) if score is not None]
    unscored = [i for i in range(len(scores)) if i not in scored]
    assert order == sorted(scored, key=lambda i: (-scores[i], i)) + unscored


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_has_no_place(score: float):
    for scores in ([score], [1.0, score], [None, score, 2.0]):
        with pytest.raises(NotFinite, match="seed"):
            rank(image(i, one) for i, one in enumerate(scores))


def plain(seed: int, score: float | None, color: int) -> RankedImage:
    return RankedImage(np.full((32, 24, 3), color, np.uint8), np.zeros(1, np.int32), seed, score)


COPIES = [plain(0, 0.9, 100), plain(1, 0.8, 102), plain(2, 0.7, 200), plain(3, 0.6, 101), plain(4, 0.5, 30)]


@pytest.mark.parametrize(
    ("n", "diversity", "seeds"),
    [
        (1, 0.02, [0]),
        (3, 0.02, [0, 2, 4]),  # none of the copies of the best one
        (4, 0.02, [0, 1, 2, 4]),  # nothing else is left: the best copy, at its place
        (5, 0.02, [0, 1, 2, 3, 4]),
        (3, 0, [0, 1, 2]),
        (2, 0.5, [0, 1]),  # all are copies
    ],
)
def test_near_copies_are_left_out_while_others_are_there(n: int, diversity: float, seeds: list[int]):
    shuffled = [COPIES[place] for place in (3, 0, 4, 2, 1)]
    assert [image.seed for image in best(shuffled, n, diversity)] == seeds


def test_images_that_nothing_scored_are_taken_as_they_come():
    assert [image.seed for image in best([plain(0, None, 9), plain(1, None, 9), plain(2, None, 200)], 2)] == [0, 1]


def test_sharper_edges_are_no_other_picture():
    """A pattern within a block, and its mean."""
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::2] = 200
    striped = RankedImage(stripes, np.zeros(1, np.int32), 1, 0.8)
    other = RankedImage(np.full((32, 32, 3), 220, np.uint8), np.zeros(1, np.int32), 2, 0.1)
    blurred = RankedImage(np.full((32, 32, 3), 100, np.uint8), np.zeros(1, np.int32), 0, 0.9)
    assert [image.seed for image in best([blurred, striped, other], 2)] == [0, 2]
