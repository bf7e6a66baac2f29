"""Ranking: best first, whatever the scores."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model_core.scorers.ranking import RankedImage, rank


def image(seed: int, score: float | None) -> RankedImage:
    return RankedImage(np.zeros((1, 1, 3), np.uint8), np.zeros(1, np.int32), seed, score)


@given(st.lists(st.floats(allow_infinity=False) | st.none(), max_size=20))
def test_an_order_is_a_permutation_best_first_equal_in_place_unscored_last(scores):
    order = [ranked.seed for ranked in rank(image(i, score) for i, score in enumerate(scores))]
    assert sorted(order) == list(range(len(scores)))
    scored = [i for i, score in enumerate(scores) if score is not None and score == score]
    unscored = [i for i in range(len(scores)) if i not in scored]
    assert order == sorted(scored, key=lambda i: (-scores[i], i)) + unscored
