"""Scenes: colours where nothing is drawn, and two things side by side."""

import numpy as np
import pytest
from PIL import Image

from model_core.shipped.scenes import COLORS, WHITE, on_background, side_by_side


@pytest.mark.parametrize("color", [WHITE, *COLORS.values()])
def test_a_background_is_seen_through_what_is_transparent(color: str):
    picture = Image.new("RGBA", (8, 8))
    picture.paste((1, 2, 3, 255), (0, 0, 4, 8))
    pixels = np.asarray(on_background(picture, color))
    want = tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
    assert (pixels[:, :4] == (1, 2, 3)).all()
    assert (pixels[:, 4:] == want).all()


def test_two_pictures_stand_side_by_side_at_half_height():
    red, blue = (Image.new("RGBA", (16, 16), color) for color in ("red", "blue"))
    scene = np.asarray(side_by_side(red, blue))
    assert (scene[4:12, :8] == (255, 0, 0, 255)).all()
    assert (scene[4:12, 8:] == (0, 0, 255, 255)).all()
    assert (scene[:4, :, 3] == 0).all() and (scene[12:, :, 3] == 0).all()
