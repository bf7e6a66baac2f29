"""Codes of pictures made by hand, on several backgrounds."""

import numpy as np

from model_core.training.canonical_codes import canonical_codes
from model_core.training.data import Item

WHITE, RED, BLUE = (np.array(color, np.uint8) for color in ((255, 255, 255), (229, 57, 53), (30, 136, 229)))
OF_COLOR = {tuple(WHITE): 100, tuple(RED): 101, tuple(BLUE): 102}


def item(concept: str, style: str = "") -> Item:
    return Item(image="", prompts=((concept, 1.0),), concept=concept, style=style)


def encode(pictures: np.ndarray) -> np.ndarray:
    """Four places a picture: the number of the picture and the place, or the colour of one that is all of a colour."""
    codes = np.arange(4 * len(pictures)).reshape(-1, 4)
    for row, picture in zip(codes, pictures, strict=True):
        if (picture == picture[0, 0]).all():
            row[:3] = OF_COLOR[tuple(picture[0, 0])]  # the commonest; the last is another
    return codes


def drawing(background: np.ndarray, color: np.ndarray = BLUE) -> np.ndarray:
    """Something in the last of four places, with an edge that is half see-through."""
    picture = np.full((8, 8, 3), background, np.uint8)
    picture[5:, 5:] = np.round((background.astype(float) + color) / 2)
    picture[6:, 6:] = color
    return picture


def test_places_of_background_alone_get_one_code_for_their_colour():
    pixels = np.full((2, 8, 8, 3), WHITE)
    pixels[0], pixels[1, 4:, 4:] = RED, RED
    pixels[0, :4, :4] = WHITE  # of the first picture's four places all but the first are …
    pixels[0, 0, 0] = RED  # … background, whose colour is that of the first pixel
    codes = canonical_codes([item("a"), item("b")], pixels, encode)
    np.testing.assert_array_equal(codes, [[0, 101, 101, 101], [100, 100, 100, 7]])


def test_one_drawing_on_several_colours_is_spelled_alike():
    codes = canonical_codes([item("a")] * 2, np.stack([drawing(WHITE), drawing(RED)]), encode)
    np.testing.assert_array_equal(codes, [[100, 100, 100, 3], [101, 101, 101, 3]])


def test_another_drawing_of_the_same_thing_keeps_its_codes():
    pixels = np.stack([drawing(WHITE), drawing(RED, color=RED // 2), drawing(WHITE, color=RED)])
    assert canonical_codes([item("a")] * 3, pixels, encode)[:, 3].tolist() == [3, 7, 11]


def test_the_same_drawing_of_another_thing_or_style_keeps_its_codes():
    items = [item("a", "flat"), item("b", "flat"), item("a", "noto")]
    pixels = np.stack([drawing(WHITE), drawing(RED), drawing(RED)])
    assert canonical_codes(items, pixels, encode)[:, 3].tolist() == [3, 7, 11]
