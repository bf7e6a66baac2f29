"""A picture's background, told by its border, on pictures made by hand."""

import numpy as np
import pytest

from model_core.shipped.evaluation.backgrounds import background_of, is_background, on_white
from model_core.shipped.scenes import COLORS
from tests.unit.model_core.shipped.evaluation.pictures_made_here import picture, rgb


@pytest.mark.parametrize("color", COLORS)
def test_a_background_is_told_by_the_border_also_where_it_is_a_little_off(color: str):
    noise = np.random.default_rng(0).integers(-8, 9, size=(64, 64, 3))
    image = (picture(rgb(color), rgb("black")) + noise).clip(0, 255).astype(np.uint8)
    assert background_of(image) == color


def test_white_is_a_background_too():
    assert background_of(picture(np.array([250, 255, 252]), rgb("gray"))) == "white"


def test_on_white_only_what_hangs_together_with_the_border_changes():
    image = on_white(picture(rgb("yellow"), rgb("blue")))
    assert (image[0, 0] == 255).all()
    assert (image[20, 20] == rgb("blue")).all()
    assert (image[32, 32] == rgb("yellow")).all()


def test_pixels_near_the_borders_colour_are_background_wherever_they_are():
    image = picture(rgb("blue"), rgb("red"))
    image[32, 32] += 9
    assert (is_background(image, near=9) == (image[..., 2] >= rgb("blue")[2])).all()
    assert not is_background(image, near=8)[32, 32]
