"""A training run as a folder: what it refuses, and what its model's card says. `tests/train_smoke` trains."""

import json
from pathlib import Path

import pytest
from PIL import Image

from model_core.errors import InvalidValue
from model_core.training.data import Dataset, Item, write_index
from model_core.training.presets import SMOKE
from model_core.training.run import TrainingRun


@pytest.fixture
def run(tmp_path: Path) -> TrainingRun:
    """Of the tiny preset, which wants pictures of 16 pixels, on one of 8."""
    (tmp_path / "data").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "data/night.png")
    write_index(tmp_path / "data", [Item(image="night.png", prompts=(("night", 1.0),), concept="night")])
    return TrainingRun(tmp_path / "mine", Dataset.open(tmp_path / "data"), SMOKE)


def test_pictures_of_another_size_are_refused(run: TrainingRun):
    with pytest.raises(InvalidValue, match="8 pixels wide; this model needs 16"):
        run.train_vqgan()


@pytest.mark.parametrize("step", ["train_decoder", "export"])
def test_a_step_names_the_one_that_it_needs(run: TrainingRun, step: str):
    with pytest.raises(InvalidValue, match=f"{'VQGAN' if step == 'train_decoder' else 'DalleBart'} yet: run"):
        getattr(run, step)()


def test_a_model_is_called_as_its_run_until_told_otherwise_and_then_keeps_that(run: TrainingRun, monkeypatch):
    monkeypatch.setattr("model_core.training.run.load_state", lambda *_: {"ema": {}})
    monkeypatch.setattr("model_core.weights.checkpoint.save_params", lambda *_: None)
    (run.folder / "dalle_bart").mkdir(parents=True)
    (run.folder / "dalle_bart" / "state.msgpack").touch()
    run.model.mkdir()

    def export(**card: str) -> tuple[str, str, str]:
        told = json.loads((run.export(card) / "model.json").read_text())
        return told["id"], told["licence"], told["description"]

    first = ("mine", "unknown", "Learned from 1 captioned pictures of 16 × 16 pixels.")
    assert export() == first
    assert export(id="nights", licence="CC0-1.0") == ("nights", "CC0-1.0", first[2])
    assert export(description="Draws nights.") == ("nights", "CC0-1.0", "Draws nights.")
