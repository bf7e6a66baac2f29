"""How much draws differ, on pictures made by hand."""

import numpy as np
import pytest

from model_core.shipped.evaluation.variety import Variety, difference, mean_difference, num_different, variety

BLUE = (30, 136, 229)


def pictures(*grays: int, background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """One picture a gray: a square of it on the background."""
    images = np.full((len(grays), 20, 20, 3), background, np.uint8)
    for image, gray in zip(images, grays, strict=True):
        image[5:15, 5:15] = gray
    return images


@pytest.mark.parametrize("background", [(255, 255, 255), BLUE])
def test_what_is_drawn_alone_counts(background: tuple[int, int, int]):
    one, other = pictures(100, 151, background=background)
    assert difference(one, one) == 0
    assert difference(one, other) == pytest.approx(51 / 255)


def test_a_part_that_one_picture_lacks_counts():
    one, other = pictures(0, 0)
    other[5:10] = 255
    assert difference(one, other) == pytest.approx(0.5)


def test_empty_pictures_do_not_differ():
    assert difference(*pictures(255, 255)) == 0


def test_the_mean_difference_is_of_each_draw_and_the_next():
    assert mean_difference(pictures(0, 51, 51)) == pytest.approx(0.1)
    assert mean_difference(pictures(0)) == 0


def test_a_picture_that_comes_again_is_counted_once():
    assert num_different(pictures(0, 100, 0, 100, 200, 105)) == 3
    assert num_different(pictures(0, 10, 0)) == 1


def test_variety_is_of_the_first_nine_draws_of_every_prompt():
    alike, three = pictures(*[0] * 9, 100), pictures(*[0, 100, 200] * 3, 50)
    found = variety([alike, three])
    assert (found.num_draws, found.num_different, found.alike) == (9, 2.0, 0.5)
    single = variety([pictures(0), pictures(100)])
    assert single == Variety(mean_difference=0.0, num_draws=1, num_different=1.0, alike=1.0)
