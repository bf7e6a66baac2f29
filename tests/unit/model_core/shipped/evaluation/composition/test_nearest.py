"""How near a picture comes to those learned from."""

import numpy as np
import pytest

from model_core.shipped.evaluation.composition.nearest import ALIKE, distances

RNG = np.random.default_rng(0)


def square(left: int, color: tuple[int, int, int] = (200, 30, 30)) -> np.ndarray:
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[20:40, left : left + 20] = color
    return picture


def test_a_picture_learned_from_is_found_among_others_whatever_their_order():
    learned = [square(left, tuple(RNG.integers(0, 200, 3))) for left in range(40)]
    drawn = np.stack([learned[7], learned[33], square(2, (255, 255, 0))])
    for order in (learned, learned[::-1]):
        apart = distances(drawn, order)
        assert apart[:2].tolist() == [0, 0] and apart[2] > ALIKE


def test_the_difference_is_taken_over_what_is_drawn():
    (apart,) = distances(square(10, (255, 0, 0))[None], [square(10, (0, 0, 0))])
    assert apart == pytest.approx(1 / 3)


def test_without_pictures_to_learn_from_nothing_is_near():
    assert distances(square(0)[None], [])[0] == np.inf
