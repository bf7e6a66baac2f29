import numpy as np
import pytest

from model_core.pictures import editing


def test_a_clear_pixel_frees_its_code_and_no_other():
    alpha = np.full((32, 32), 255, np.uint8)
    alpha[9, 30] = 0
    alpha[0, 0] = 1  # nearly clear is not clear
    repaint = editing.repaint_clear(alpha, (8, 8))
    assert np.argwhere(repaint).tolist() == [[2, 7]]


@pytest.mark.parametrize("side", [3, 8, 100])
def test_any_size_of_mask_will_do(side: int):
    assert editing.repaint_clear(np.zeros((side, side), np.uint8), (8, 8)).all()
    assert not editing.repaint_clear(np.full((side, side), 255, np.uint8), (8, 8)).any()


@pytest.mark.parametrize(("keep", "kept_rows"), [(0.0, 0), (0.25, 2), (0.5, 4), (0.999, 7)])
def test_the_rows_below_what_is_kept_are_free(keep: float, kept_rows: int):
    repaint = editing.repaint_below(keep, (8, 8))
    assert not repaint[:kept_rows].any() and repaint[kept_rows:].all()


def test_a_grid_need_not_be_square():
    alpha = np.full((8, 12), 255, np.uint8)
    alpha[7, 0] = 0
    assert np.argwhere(editing.repaint_clear(alpha, (2, 3))).tolist() == [[1, 0]]
    repaint = editing.repaint_below(0.5, (2, 3))
    assert repaint.tolist() == [[False] * 3, [True] * 3]
    kept = editing.keep_pixels(np.full((8, 12, 3), 9, np.uint8), np.zeros((8, 12, 3), np.uint8), repaint)
    assert not kept[:4].any() and (kept[4:] == 9).all()


def test_codes_stay_where_nothing_is_repainted():
    repaint = np.array([[True, False], [False, True]])
    fixed = editing.fix_codes(np.array([5, 6, 7, 8]), repaint)
    assert fixed.tolist() == [editing.FREE, 6, 7, editing.FREE]
    assert fixed.dtype == np.int32


def test_pixels_come_back_where_codes_stayed():
    repaint = np.array([[True, False], [False, False]])
    kept = editing.keep_pixels(np.full((4, 4, 3), 9, np.uint8), np.zeros((4, 4, 3), np.uint8), repaint)
    assert (kept[:2, :2] == 9).all() and kept.sum() == 4 * 3 * 9
