"""The detector learns the tests' own things, and reads its maps as they are meant."""

import json
from pathlib import Path

import numpy as np
import pytest

from model_core.shipped.evaluation.composition import detector
from model_core.shipped.evaluation.composition.detector import (
    CELL,
    CELLS,
    DetectorRecipe,
    load_detector,
    look,
    train_detector,
)
from model_core.shipped.world.description import FRAME
from model_core.shipped.world.scenes import World
from model_core.shipped.world.vocabulary import COLOR_NAMES, GROUNDS
from tests.unit.model_core.shipped.world.things_made_here import sprites

THINGS = [thing.name for thing in sprites().things]


def test_the_cells_of_a_batch_hold_what_its_scenes_show():
    scenes = list(World(sprites=sprites(), seed=5).scenes(0, 40))
    batch = detector._batch(scenes, THINGS, np.random.default_rng(0))
    for number, scene in enumerate(scenes):
        told = {(row, column) for row, column in np.argwhere(batch["thing"][number] >= 0)}
        centers = {
            tuple(int(place // CELL) for place in reversed(box.center))
            for subject, boxes in zip(scene.description.subjects, scene.boxes, strict=True)
            for box in boxes
            if subject.name != FRAME
        }
        assert told == centers
        assert {tuple(cell) for cell in np.argwhere(batch["heat"][number] == 1)} == centers
        assert GROUNDS[batch["ground"][number]] == scene.description.ground
    assert (batch["heat"] <= 1).all() and (batch["color"] < len(COLOR_NAMES)).all()


def test_centers_are_the_peaks_of_the_map():
    outputs = {
        "heat": np.zeros((CELLS, CELLS), np.float32),
        "thing": np.zeros((CELLS, CELLS, len(THINGS)), np.float32),
        "color": np.zeros((CELLS, CELLS, len(COLOR_NAMES)), np.float32),
        "ground": np.eye(len(GROUNDS), dtype=np.float32)[3],
    }
    outputs["heat"][2, 3], outputs["heat"][2, 4], outputs["heat"][9, 9] = 0.9, 0.8, 0.2  # the last is too faint
    outputs["thing"][2, 3, 1] = outputs["color"][2, 3, 2] = 1
    (found,) = detector._read(outputs, THINGS).found
    assert (found.thing, found.color, found.center) == (THINGS[1], COLOR_NAMES[2], (3.5 * CELL, 2.5 * CELL))


@pytest.mark.exhaustive
def test_it_learns_and_is_kept(tmp_path: Path):
    recipe = DetectorRecipe(steps=30, batch_size=6, warm_up_steps=3)
    params = train_detector(tmp_path, THINGS, World(sprites=sprites(), seed=1), recipe)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(losses[-8:]) < 0.85 * np.mean(losses[:4])
    again = load_detector(tmp_path, len(THINGS), recipe)
    pictures = [scene.pixels for scene in World(sprites=sprites(), seed=2).scenes(0, 2)]
    assert look(again, THINGS, pictures) == look(params, THINGS, pictures)
