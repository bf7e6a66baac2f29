"""Scenes as a data set on disk."""

from pathlib import Path

import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.shipped.world import dataset
from model_core.shipped.world.captions import plain_caption
from model_core.shipped.world.dataset import build_world
from model_core.shipped.world.description import held_out_kinds
from model_core.shipped.world.scenes import World
from model_core.training.data import Dataset
from tests.unit.model_core.shipped.world.things_made_here import sprites


def test_a_data_set_holds_the_scenes_and_their_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dataset, "SHARD", 4)
    assert build_world(tmp_path, sprites(), 6, seed=2, first=10, num_validation=3) == 9
    opened, world = Dataset.open(tmp_path), World(sprites=sprites(), seed=2)
    items = opened.split("train")
    scenes = list(world.scenes(10, 16))
    np.testing.assert_array_equal(opened.load_pixels(items), np.stack([scene.pixels for scene in scenes]))
    for item, scene in zip(items, scenes, strict=True):
        assert item.prompts[0] == (scene.caption, 1.0)
        assert item.concept == plain_caption(scene.description)
        assert item.style == scene.description.style
        assert not held_out_kinds(scene.description)
    assert len({Path(item.image).parent for item in items}) == 2
    unseen = World(sprites=sprites(), seed=2, held_out=True)
    assert [item.prompts[0][0] for item in opened.split("validation")] == [unseen.captions(i)[0] for i in range(3)]


def test_a_shard_that_is_there_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    build_world(tmp_path, sprites(), 3)
    monkeypatch.setattr(World, "scene", lambda *_: pytest.fail("drawn again"))
    assert build_world(tmp_path, sprites(), 3) == 3


@pytest.mark.parametrize("numbers", [{"num_scenes": 0}, {"num_scenes": 1, "first": -1}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, numbers: dict[str, int]):
    with pytest.raises(InvalidValue, match="must be at least"):
        build_world(tmp_path, sprites(), **numbers)
