"""From a folder of captioned pictures to a model that draws, with the commands a user types."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from model_core.families.dalle_bart.text import open_tokenizer
from model_core.pipeline import Pipeline
from model_core.training import dalle_bart
from model_core.training.data import Dataset
from model_core.training.loop import load_state
from model_core.training.presets import SMOKE
from model_core.training.run import TrainingRun
from model_core.training.samples import sampler

pytestmark = pytest.mark.timeout(2400)

COLORS = ("red", "green", "blue", "orange")
SHAPES = {"circle": "ellipse", "square": "rectangle"}
TIMEOUT_S = 1200  # a deadline for a hung process; a minute or so is what it takes
COMMAND = Path(sys.executable).with_name("dalle-serve")


def dalle_serve(*arguments: str | Path) -> str:
    """Runs `dalle-serve …`; gives what it printed."""
    command = [str(COMMAND), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Eight pictures with captions, and one without."""
    folder = tmp_path_factory.mktemp("pictures")
    for color, shape in itertools.product(COLORS, SHAPES):
        image = Image.new("RGB", (64, 48), "white")
        getattr(ImageDraw.Draw(image), SHAPES[shape])((16, 8, 48, 40), fill=color)
        image.save(folder / f"{color}-{shape}.png")
        (folder / f"{color}-{shape}.txt").write_text(f"a {color} {shape}")
    Image.new("RGB", (64, 48), "white").save(folder / "nameless.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, pictures: Path) -> Path:
    """A finished run of the tiny preset."""
    folder = tmp_path_factory.mktemp("training")
    said = dalle_serve("train", "data", "folder", pictures, folder / "data", "--size", "16")
    assert "8 pictures" in said
    assert "nameless.png" in said
    dalle_serve("train", "all", "--data", folder / "data", "--run", folder / "run", "--preset", "smoke")
    return folder / "run"


@pytest.mark.parametrize("part", ["vqgan", "dalle_bart", "clip"])
def test_every_network_learned(run: Path, part: str):
    lines = [json.loads(line) for line in (run / part / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_the_model_loads_and_draws_ranked_images(run: Path):
    pipeline = Pipeline.from_model(run / "model", batch_size=2)
    first, second = pipeline.generate("a red circle", n=2, seed=3)
    assert first.image.shape == (16, 16, 3)
    assert first.image.dtype == np.uint8
    assert first.score >= second.score
    assert {first.seed, second.seed} == {3, 4}
    again = pipeline.generate("a red circle", seed=second.seed)[0]
    np.testing.assert_array_equal(again.image, second.image)


def test_a_run_goes_on_from_a_model_and_is_published_under_its_own_name(run: Path, tmp_path: Path):
    data, further = run.parent / "data", tmp_path / "further"
    dalle_serve("train", "start", run / "model", "--run", further)
    settings = ("--preset", "smoke", "--set", "steps=3", "--set", "warm_up_steps=1", "--set", "clean_fraction=1.0")
    dalle_serve("train", "dalle-bart", "--data", data, "--run", further, *settings)
    first, later = (
        json.loads((folder / "dalle_bart" / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for folder in (run, further)
    )
    assert later < 0.7 * first
    dalle_serve("train", "export", "--data", data, "--run", further, "--id", "shapes", "--licence", "CC0-1.0")
    dalle_serve("train", "export", "--data", data, "--run", further, "--description", "Draws shapes.")
    model = Pipeline.from_model(further / "model")
    assert model.generate("a red circle", seed=3)[0].image.shape == (16, 16, 3)
    card = json.loads((further / "model/model.json").read_text())
    assert (card["id"], card["licence"], card["description"]) == ("shapes", "CC0-1.0", "Draws shapes.")
    assert card["sampling"] == SMOKE.sampling


def test_samples_show_how_far_training_has_come(run: Path, tmp_path: Path):
    training = TrainingRun(run, Dataset.open(run.parent / "data"), SMOKE)
    state = load_state(
        run / "dalle_bart/state.msgpack", dalle_bart.initial_state(SMOKE.dalle_bart, SMOKE.dalle_bart_recipe)
    )
    draw = sampler(
        SMOKE.dalle_bart,
        open_tokenizer(run / "model/dalle_bart"),
        training._codec().decode,
        ["a red circle", "a blue square"],
        SMOKE.vqgan.n_embed,
        SMOKE.sampling,
        tmp_path,
    )
    draw(state)
    (sheet,) = tmp_path.iterdir()
    assert sheet.name == "000060.png"
    with Image.open(sheet) as picture:
        assert picture.size == (2 * 16, 16)


def test_the_networks_are_measured(run: Path, tmp_path: Path):
    """The report of what was trained above. Nothing is drawn for it: the judge's pictures would have to be fetched."""
    data = run.parent / "data"
    dalle_serve("eval", tmp_path, "--model", run / "model", "--data", data, "--draws", "0")
    (scores,) = json.loads((tmp_path / "evaluation.json").read_text())["networks"]
    assert (scores["split"], scores["num_pictures"]) == ("train", 8)
    assert 5 < scores["psnr"] < 60
    assert 0 < scores["codes_used"] <= 1
    assert 0 < scores["nll"] < np.log(64)  # what a model that has learned nothing would have
    assert scores["recall_at_1"] <= scores["recall_at_5"]
    assert "| train |" in (tmp_path / "evaluation.md").read_text()
