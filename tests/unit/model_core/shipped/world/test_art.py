"""Drawings turned to a colour, and cut out."""

import numpy as np
import pytest
from PIL import Image

from model_core.shipped.world import art
from model_core.shipped.world.color import NAMED, chroma_of, hue_distance, hue_of, nearest_name, parse_hex, to_lab
from model_core.shipped.world.vocabulary import COLOR_NAMES
from tests.unit.model_core.shipped.world.things_made_here import BODIES, SHAPE

WITH_HUE = [name for name, lab in NAMED.items() if chroma_of(lab) > art.COLORED]


def middle_of(body: str) -> np.ndarray:
    """The mean colour of what is opaque, in Oklab."""
    rgba = np.asarray(art.draw_sprite(body, SHAPE), np.float64)
    return to_lab((rgba[rgba[..., 3] > 250][:, :3] / 255).mean(0))


@pytest.mark.parametrize("color", COLOR_NAMES)
@pytest.mark.parametrize("thing", ["dog", "elephant", "alarm clock"])
def test_a_thing_of_one_fill_gets_exactly_the_named_colour(thing: str, color: str):
    body, share = art.recolor(BODIES[thing], SHAPE, color)
    assert share == 1
    np.testing.assert_allclose(middle_of(body), NAMED[color], atol=0.01)


@pytest.mark.parametrize("color", WITH_HUE)
def test_shades_keep_their_hue_and_their_order(color: str):
    shaded = '<rect width="32" height="20" fill="#e57373"/><rect y="20" width="32" height="12" fill="#c62828"/>'
    body, _ = art.recolor(shaded, SHAPE, color)
    light, dark = (to_lab(parse_hex(found)) for found in art.fill_areas(body, SHAPE))
    assert light[0] != dark[0]
    for lab in (light, dark):
        assert hue_distance(hue_of(lab), hue_of(NAMED[color])) < 40  # cut to what a screen shows
    assert nearest_name((light + dark) / 2) == color


def test_parts_of_another_hue_stay():
    body, share = art.recolor(BODIES["tree"], SHAPE, "blue")
    assert "#795548" in body
    assert "#2e9e4f" not in body
    assert share == pytest.approx(240 / 272, abs=0.05)


def test_dark_outlines_and_eyes_stay():
    assert "#212121" in art.recolor(BODIES["cat"], SHAPE, "green")[0]


def test_gray_things_take_a_colour_if_nothing_else_is_common():
    areas = {"#9b9b9b": 0.6, "#ff0000": 0.05, "#ffffff": 0.1}
    assert art.main_fills(areas) == ["#9b9b9b"]


def test_a_common_hue_comes_before_gray():
    assert art.main_fills({"#9b9b9b": 0.5, "#ff0000": 0.3}) == ["#ff0000"]


def test_nothing_to_turn_leaves_the_drawing():
    assert art.recolor("<g/>", SHAPE, "red") == ("<g/>", 0.0)


def test_fill_areas_are_shares_of_the_picture():
    areas = art.fill_areas(
        '<rect width="16" height="32" fill="#FF0000"/><rect width="4" height="4" fill="none"/>', SHAPE
    )
    assert areas == pytest.approx({"#ff0000": 0.5}, abs=0.02)


def test_strokes_are_turned_too():
    body, _ = art.recolor('<path d="M4 16h24" stroke="#ff0000" stroke-width="6"/>', SHAPE, "blue")
    assert "#ff0000" not in body


def test_sprites_are_cut_to_what_is_visible_and_as_long_as_said():
    picture = art.draw_sprite(BODIES["dog"], SHAPE)
    assert picture.size == (art.SPRITE, round(art.SPRITE * 16 / 24))
    assert np.asarray(picture.getchannel("A")).min() > 200


def test_cutting_out_leaves_no_empty_edge():
    picture = Image.new("RGBA", (20, 20))
    picture.paste((255, 0, 0, 255), (3, 5, 10, 9))
    assert art.cut_out(picture).size == (7, 4)


def test_an_icon_has_its_own_size_or_the_collections():
    assert art.shape_of({"width": 3}, {"width": 9, "height": 8}) == (3, 8)
    assert art.shape_of({}, {}) == (16, 16)
