import numpy as np
import pytest

from deployments.flow.previews import fill


def test_codes_to_come_repeat_the_last_whole_row():
    codes = np.array([1, 2, 3, 4, 5, -1, -1, -1, -1], np.int32)
    filled, num_codes = fill(codes, 3)
    assert num_codes == 3
    assert filled.tolist() == [1, 2, 3, 4, 5, 3, 1, 2, 3]
    assert filled.dtype == codes.dtype


@pytest.mark.parametrize("fixed", [3, 5, 8])
def test_fixed_codes_further_down_stay(fixed: int):
    codes = np.array([1, 2, 3, -1, -1, -1, -1, -1, -1], np.int32)
    codes[fixed] = 7
    filled, num_codes = fill(codes, 3)
    assert (filled[fixed], num_codes) == (7, 3)
    assert (filled >= 0).all()


def test_a_whole_picture_is_left_as_it_is():
    codes = np.arange(4, dtype=np.int32)
    filled, num_codes = fill(codes, 2)
    assert num_codes == 4
    assert filled.tolist() == [0, 1, 2, 3]


def test_rows_need_not_be_as_long_as_the_picture_is_high():
    filled, num_codes = fill(np.array([1, 2, 3, -1, -1, -1, -1, -1], np.int32), 2)
    assert num_codes == 2
    assert filled.tolist() == [1, 2, 3, 2, 1, 2, 1, 2]
