"""Grounds and frames."""

import random

import numpy as np
import pytest
from PIL import Image

from model_core.shipped.scenes import COLORS
from model_core.shipped.world.description import Box
from model_core.shipped.world.grounds import SIDE, draw_frame, draw_ground, flat_color, inside_of
from model_core.shipped.world.vocabulary import COLOR_NAMES, PLACES


@pytest.mark.parametrize("name", ["white", *COLOR_NAMES])
def test_a_colour_is_exactly_that_everywhere(name: str):
    picture, horizon = draw_ground(name, random.Random(0))
    assert picture.size == (SIDE, SIDE)
    assert picture.getcolors() == [(SIDE**2, tuple(bytes.fromhex(flat_color(name)[1:])))]
    assert horizon == 0


@pytest.mark.parametrize("place", PLACES)
def test_places_vary_with_chance_and_with_nothing_else(place: str):
    pictures = [np.asarray(draw_ground(place, random.Random(seed))[0]) for seed in (1, 1, 2, 3)]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[1] != pictures[2]).any()
    assert (pictures[2] != pictures[3]).any()


@pytest.mark.parametrize("place", ["grass", "beach", "snow", "desert", "room", "water"])
def test_places_to_stand_on_have_a_horizon_inside(place: str):
    for seed in range(10):
        assert 0 < draw_ground(place, random.Random(seed))[1] < 0.75 * SIDE


def test_places_look_different_from_each_other():
    means = [np.asarray(draw_ground(place, random.Random(4))[0]).mean((0, 1)) for place in PLACES]
    assert all(np.abs(a - b).max() > 8 for i, a in enumerate(means) for b in means[:i])


def test_a_frame_is_around_an_empty_canvas():
    picture = Image.new("RGB", (SIDE, SIDE), "#00ff00")
    box = Box(left=10, top=20, right=100, bottom=90)
    draw_frame(picture, box, "blue", random.Random(0))
    pixels, canvas = np.asarray(picture), inside_of(box)
    inner = pixels[canvas.top : canvas.bottom, canvas.left : canvas.right].reshape(-1, 3)
    assert len(np.unique(inner, axis=0)) == 1
    assert inner.min() > 220
    blue = tuple(bytes.fromhex(COLORS["blue"][1:]))
    assert tuple(pixels[55, 14]) == blue
    outside = pixels.copy()
    outside[box.top : box.bottom, box.left : box.right] = (0, 255, 0)
    assert (outside == (0, 255, 0)).all()
