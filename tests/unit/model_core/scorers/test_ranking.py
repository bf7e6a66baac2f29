"""Ranking: best first, whatever the scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_core.errors import NotFinite
from model_core.scorers.ranking import RankedImage, rank


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
