"""From a folder of captioned pictures to a model that draws, with the commands a user types."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from model_core.pipeline import Pipeline

pytestmark = pytest.mark.timeout(2400)

COLORS = ("red", "green", "blue", "orange")
SHAPES = {"circle": "ellipse", "square": "rectangle"}
TIMEOUT_S = 1200  # a deadline for a hung process; a minute or so is what it takes
COMMAND = Path(sys.executable).with_name("dalle-serve")


def train(*arguments: str | Path) -> str:
    """Runs `dalle-serve train …`; gives what it printed."""
    command = [str(COMMAND), "train", *map(str, arguments)]
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
    said = train("data", "folder", pictures, folder / "data", "--size", "32")
    assert "8 pictures" in said
    assert "nameless.png" in said
    train("all", "--data", folder / "data", "--run", folder / "run", "--preset", "smoke")
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
    assert first.image.shape == (32, 32, 3)
    assert first.image.dtype == np.uint8
    assert first.score >= second.score
    assert {first.seed, second.seed} == {3, 4}
    again = pipeline.generate("a red circle", seed=second.seed)[0]
    np.testing.assert_array_equal(again.image, second.image)


def test_a_finished_run_is_passed_over(run: Path):
    """The same command again trains nothing and exports the same model."""
    weights = run / "model/dalle_bart/flax_model.msgpack"
    curve = run / "dalle_bart/metrics.jsonl"
    before = weights.read_bytes(), curve.read_text()
    train("dalle-bart", "--data", run.parent / "data", "--run", run, "--preset", "smoke")
    assert (weights.read_bytes(), curve.read_text()) == before
