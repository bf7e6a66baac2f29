"""A training run as a folder: what it refuses, and what its model's card says. `tests/train_smoke` trains."""

import json
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from model_core.errors import InvalidValue
from model_core.training.data import Dataset, Item, write_index
from model_core.training.encoded import EncodedDataset
from model_core.training.loop import save_state
from model_core.training.presets import SMOKE
from model_core.training.recipe import SequenceRecipe
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
        run.train_codec()


@pytest.mark.parametrize("step", ["train_decoder", "export"])
def test_a_step_names_the_one_that_it_needs(run: TrainingRun, step: str):
    with pytest.raises(InvalidValue, match=f"{'codec' if step == 'train_decoder' else 'DalleBart'} yet: run"):
        getattr(run, step)()


def test_a_model_is_called_as_its_run_until_told_otherwise_and_then_keeps_that(run: TrainingRun, monkeypatch):
    monkeypatch.setattr("model_core.training.run.load_state", lambda *_: {"ema": {}})
    monkeypatch.setattr("model_core.weights.checkpoint.save_params", lambda *_: None)
    (run.folder / "dalle_bart").mkdir(parents=True)
    (run.folder / "dalle_bart" / "state.msgpack").touch()
    (run.folder / "dalle_bart" / "speed.jsonl").write_text('{"step": 1, "device": "a CPU", "seconds": 7200.0}\n')
    run.model.mkdir()

    def export(**card: str) -> tuple[str, str, str]:
        told = json.loads((run.export(card) / "model.json").read_text())
        return told["id"], told["licence"], told["description"]

    first = ("mine", "unknown", "Learned from 1 captioned pictures of 16 × 16 pixels.")
    assert export() == first
    assert export(id="nights", licence="CC0-1.0") == ("nights", "CC0-1.0", first[2])
    run.export(watts=50.0, grams_per_kwh=300.0)
    assert export(description="Draws nights.") == ("nights", "CC0-1.0", "Draws nights.")
    assert json.loads((run.model / "model.json").read_text())["training"] == {
        "devices": ["a CPU"],
        "hours": 2.0,
        "energy": "estimated at 50 W",
        "watts": 50.0,
        "kwh": 0.1,
        "grams_co2_per_kwh": 300.0,
        "kg_co2": 0.03,
    }


def test_every_change_of_a_recipe_is_noted_with_its_step(run: TrainingRun):
    folder = run.folder / "dalle_bart"
    for _ in range(2):
        run._note_recipe(SequenceRecipe())
    save_state(folder / "state.msgpack", {"step": jnp.int32(7)})
    run._note_recipe(SequenceRecipe(learning_rate=1e-4, schedule_from=7))
    first, second = (json.loads(line) for line in (folder / "recipe.jsonl").read_text().splitlines())
    assert (first["step"], first["set"]["learning_rate"]) == (0, SequenceRecipe().learning_rate)
    assert second == {"step": 7, "set": {"learning_rate": 1e-4, "schedule_from": 7}}


def test_sets_to_measure_on_need_steps_between(run: TrainingRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "_task", lambda: SimpleNamespace(recipe=SequenceRecipe()))
    with pytest.raises(InvalidValue, match="--set validate_every=500"):
        run.train_sampler([run.dataset])


def test_codes_of_another_codec_are_refused(run: TrainingRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "_codec", lambda: SimpleNamespace(params={"w": np.zeros(2)}))
    kept = object.__new__(EncodedDataset)
    kept.folder, kept.about = Path("codes"), {"codec": "another"}
    with pytest.raises(InvalidValue, match=r"codes was encoded by another codec.*encode it again with"):
        run._captioned(kept)
