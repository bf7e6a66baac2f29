"""Squares cut out of scenes."""

import numpy as np

from model_core.shipped.world import crops
from model_core.shipped.world.crops import crop_batch, cut_square, fresh_scenes, whole_batch
from model_core.shipped.world.scenes import World
from tests.unit.model_core.shipped.world.things_made_here import sprites

WORLD = World(sprites=sprites())


def test_batches_depend_on_step_and_generator_alone():
    one, other = (crop_batch(WORLD, 3, 5, 64, np.random.default_rng(1)) for _ in range(2))
    assert one.shape == (5, 64, 64, 3)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, other)


def test_no_scene_comes_twice():
    first, second = fresh_scenes(WORLD, 0, 3), fresh_scenes(WORLD, 1, 3)
    whole = np.concatenate([whole_batch(WORLD, 0, 3), whole_batch(WORLD, 1, 3)])
    np.testing.assert_array_equal(whole, np.stack([scene.pixels for scene in first + second]).astype(np.float32) / 255)


def test_most_squares_show_a_thing(monkeypatch):
    monkeypatch.setattr(crops, "ON_A_THING", 1.0)
    rng = np.random.default_rng(0)
    for scene in WORLD.scenes(0, 40):
        square = cut_square(scene, 64, rng)
        assert square.shape == (64, 64, 3)
        assert square.std() > 1


def test_a_square_as_large_as_the_scene_is_the_scene():
    scene = WORLD.scene(0)
    np.testing.assert_array_equal(cut_square(scene, 128, np.random.default_rng(0)), scene.pixels)
