"""Sets of pictures: drawn alike, and whatever is left out is counted."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from model_core.shipped.packages import PackageError
from model_core.shipped.picture_sets import TRAINING_SETS, draw_set, rasterise
from model_core.shipped.scenes import on_background
from tests.unit.model_core.shipped.packages_made_here import DOT, SQUARE, picture_package, write_package


@pytest.mark.parametrize(("side", "border"), [(36, 0.0), (128, 1 / 32), (32, 1 / 16)])
def test_every_set_gets_the_same_margin(side: int, border: float):
    inner = side * (1 - 2 * border)
    body = f'<rect x="{side * border}" y="{side * border}" width="{inner}" height="{inner}" fill="#00ff00"/>'
    pixels = np.asarray(on_background(rasterise(body, (side, side), 64, margin=1 / 16, border=border)))
    assert pixels.shape == (64, 64, 3)
    assert (pixels[4:60, 4:60] == [0, 255, 0]).all()
    coverage = 1 - pixels[..., 0] / 255
    coverage[4:60, 4:60] = 0
    assert coverage.max() < 0.5  # the next pixel may be touched: edges fall between two
    coverage[3:61, 3:61] = 0
    assert coverage.max() == 0


def test_a_drawing_that_is_not_square_is_centred():
    body = '<rect width="32" height="16" fill="#000000"/>'
    is_dark = np.asarray(rasterise(body, (32, 16), 32, margin=0, border=0))[..., 3] == 255
    assert np.flatnonzero(is_dark.any(1)).tolist() == list(range(8, 24))
    assert is_dark[8:24].all()


@pytest.mark.parametrize("tilt", [20.0, -20.0])
def test_a_tilted_drawing_is_turned_around_its_middle_and_all_in_the_picture(tilt: float):
    body = '<rect width="32" height="32" fill="#000000"/><rect width="32" height="16" fill="#ff0000"/>'
    pixels = np.asarray(rasterise(body, (32, 32), 128, margin=1 / 16, border=0, tilt=tilt)).astype(float)
    alpha = pixels[..., 3] / 255
    assert alpha.sum() == pytest.approx((128 * 7 / 8 * 7 / 8) ** 2, rel=0.01)
    assert alpha[[0, -1]].max() == alpha[:, [0, -1]].max() == 0
    row, column = (np.arange(128) @ alpha.sum(axis) / alpha.sum() for axis in (1, 0))
    assert (row, column) == pytest.approx((63.5, 63.5), abs=0.5)
    red = alpha * (pixels[..., 0] > 128)
    up = 63.5 - np.arange(128) @ red.sum(1) / red.sum()
    right = np.arange(128) @ red.sum(0) / red.sum() - 63.5
    assert np.degrees(np.arctan2(right, up)) == pytest.approx(tilt, abs=2)  # clockwise: what was above leans right


def test_what_is_transparent_stays_so():
    body = '<rect width="32" height="32" fill="#000000" opacity="0.5"/>'
    pixels = np.asarray(rasterise(body, (32, 32), 16, margin=0, border=0))
    assert (pixels[..., :3] == 0).all()
    assert np.abs(pixels[..., 3].astype(int) - 127).max() <= 1


def test_a_picture_that_is_no_svg_is_refused():
    with pytest.raises(PackageError, match="cannot be drawn"):
        rasterise("<rect", (32, 32), 16, margin=0, border=0)


def test_everything_left_out_is_counted(tmp_path: Path):
    bodies = {"square": SQUARE, "twin": SQUARE, "dot": DOT}
    chars = {"a1": "square", "a2": "twin", "b1": "dot", "c1-1f3ff": "dot", "d1-200d-d2": "dot"}
    archive = write_package(tmp_path / "set.tgz", picture_package(bodies, chars))
    dropped = Counter()
    drawn = dict(draw_set(TRAINING_SETS[0], archive, {"a1", "a2", "e1"}, 16, dropped))
    assert drawn.keys() == {"a1"}
    assert dropped == {
        "flat: same picture as another concept's": 1,
        "flat: concept not in the set": 1,
        "flat: not in the list": 1,
        "flat: skin-tone variant": 1,
        "flat: joined emoji, not in the list": 1,
    }
