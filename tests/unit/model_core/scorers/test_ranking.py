"""Ranking: best first, whatever the scores."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model_core.scorers.ranking import rank


@given(st.lists(st.floats(width=32), max_size=20))
def test_an_order_is_a_permutation_best_first_equal_in_place_nan_last(values):
    order = rank(np.array(values, np.float32)).tolist()
    assert sorted(order) == list(range(len(values)))
    numbers = [i for i in order if values[i] == values[i]]
    assert order[: len(numbers)] == numbers
    assert numbers == sorted(numbers, key=lambda i: (-values[i], i))
