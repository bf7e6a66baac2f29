"""The judge: it learns what is alike in pictures, and does not look at where and how large a thing is drawn."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from model_core.shipped.evaluation.judge import Judge, features, train_judge
from model_core.shipped.evaluation.measures import hits

SHAPES = ("ellipse", "rectangle")
COLORS = ("#d02020", "#2020d0", "#20a020")


def draw(shape: str, color: str, box: tuple[int, int, int, int], size: int = 64) -> np.ndarray:
    image = Image.new("RGB", (size, size), "white")
    getattr(ImageDraw.Draw(image), shape)(box, fill=color)
    return np.asarray(image)


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Of six classes: two shapes in three colours."""
    boxes = ((8, 8, 56, 56), (4, 4, 60, 58), (10, 12, 50, 52))
    classes = [(shape, color) for shape in SHAPES for color in COLORS]
    images = [draw(*each, box) for box in boxes for each in classes]
    return train_judge(images, np.tile(np.arange(6), len(boxes)), 6)


def test_a_thing_is_known_where_and_how_large_it_was_never_drawn(judge: Judge):
    box = (70, 20, 110, 60)
    images = np.stack([draw(shape, color, box, size=128) for shape in SHAPES for color in COLORS])
    assert hits(judge(images), np.arange(6), 1).all()


def test_judging_does_not_depend_on_the_other_pictures(judge: Judge):
    images = np.stack([draw("ellipse", color, (8, 8, 40, 40)) for color in COLORS])
    np.testing.assert_allclose(judge(images)[1:2], judge(images[1:2]), rtol=1e-4)


def test_a_blank_picture_is_judged_too(judge: Judge):
    blank = np.full((1, 64, 64, 3), 255, np.uint8)
    assert np.isfinite(judge(blank)).all()


def test_training_is_the_same_each_time():
    images = [draw(shape, "#d02020", (8, 8, 56, 56)) for shape in SHAPES]
    one, other = (train_judge(images, np.arange(2), 2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.weights, other.weights)


def test_features_of_a_plain_picture_have_its_colour_and_no_edges():
    red = np.zeros((1, 48, 48, 3), np.float32)
    red[..., 0] = 1
    coarse, rest = features(red)[0, :108].reshape(36, 3), features(red)[0, 108:]
    np.testing.assert_allclose(coarse, [[1.0, 3.0, 1.5]] * 36, rtol=1e-5)  # three times (1/3, 1 − 0, 1/2 − 0)
    edges = rest[432 : 432 + 288]
    assert (edges == 0).all()
