"""Batches of one size, whatever the number of items."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_core.batches import batches, in_batches
from model_core.errors import InvalidValue


@given(st.integers(1, 20), st.integers(1, 7))
def test_every_item_counts_once_and_every_batch_has_the_same_size(total: int, batch_size: int):
    found = list(batches(total, batch_size))
    assert {len(rows) for rows, _ in found} == {batch_size}
    assert np.concatenate([rows[:count] for rows, count in found]).tolist() == list(range(total))
    assert found[-1][0].max() == total - 1


def test_results_are_those_of_the_items_alone():
    sizes = []

    def double(items: np.ndarray) -> np.ndarray:
        sizes.append(len(items))
        return 2 * items

    np.testing.assert_array_equal(in_batches(double, np.arange(5), 2), [0, 2, 4, 6, 8])
    assert sizes == [2, 2, 2]


def test_nothing_is_refused():
    with pytest.raises(InvalidValue, match="at least one"):
        in_batches(np.negative, np.zeros(0), 2)
