"""What draws codes is trained in every family, from a model that is there, on a data set of codes; a codec, too."""

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from deployments.cli.main import app
from model_core import families
from model_core.pipeline import Pipeline
from model_core.training import sequences
from model_core.training.loop import load_state
from model_core.training.presets import SMOKE
from tests.unit.deployments.tiny_models import make_models

pytestmark = pytest.mark.timeout(1200)
COLORS = ("red", "green", "blue", "orange")
STEPS = 12
DRAWN = ("janus", "llamagen")  # with the third it would take half of the time of all


def dalle_serve(*arguments: str | Path) -> str:
    """Runs `dalle-serve …` in this process: a new one would import everything again for each model."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, f"{arguments}\n{done.output}\n{done.exception!r}"
    return done.output


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for color in COLORS:
        image = Image.new("RGB", (32, 32), "white")
        ImageDraw.Draw(image).ellipse((8, 8, 24, 24), fill=color)
        image.save(folder / f"{color}.png")
        (folder / f"{color}.txt").write_text(f"a {color} ball")
    return folder


@pytest.mark.parametrize(
    "name", ["mindalle", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("janus", "llamagen"))]
)
def test_a_family_learns_from_codes_and_draws(name: str, pictures: Path, tmp_path: Path):
    model = make_models(tmp_path, name)[name]
    run, data = tmp_path / "run", tmp_path / "data"
    dalle_serve("train", "data", "encode", pictures, data, "--model", model, "--shard", 3)
    dalle_serve("train", "start", model, "--run", run)
    settings = {"steps": STEPS, "warm_up_steps": 2, "validate_every": 6, "ema_decay": 0.5, "learning_rate": 0.01}
    chosen = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    dalle_serve("train", "sampler", "--data", data, "--run", run, "--preset", "smoke", *chosen, "--validate", data)
    lines = [json.loads(line) for line in (run / "dalle_bart" / "metrics.jsonl").read_text().splitlines()]
    assert [line["samples"] for line in lines] == [4 * (i + 1) for i in range(STEPS)]
    measured = {line["step"]: line["loss_data"] for line in lines if "loss_data" in line}
    assert measured.keys() == {6, 12}
    assert np.isfinite(list(measured.values())).all()
    assert np.mean([line["loss"] for line in lines[-3:]]) < lines[0]["loss"]
    dalle_serve("train", "export", "--data", data, "--run", run, "--preset", "smoke", "--id", "balls")
    family, config, exported = families.load(run / "model" / "dalle_bart")
    like = jax.eval_shape(partial(sequences.initial_state, SMOKE.decoder_recipe), family.param_shapes(config))
    average = load_state(run / "dalle_bart" / "state.msgpack", like)["ema"]
    jax.tree.map(np.testing.assert_array_equal, exported, average)
    if name in DRAWN:
        drawn = Pipeline.from_model(run / "model", batch_size=1).generate("a red ball", seed=3)
        assert drawn[0].image.dtype == np.uint8


def test_a_codec_begins_afresh_and_spells_pictures_for_its_sampler(pictures: Path, tmp_path: Path):
    """DALLE-pytorch's DiscreteVAE, with an adversary for its last steps."""
    model = make_models(tmp_path, "dalle-pytorch")["dalle-pytorch"]
    run, data = tmp_path / "run", tmp_path / "data"
    dalle_serve("train", "data", "folder", pictures, data, "--size", 32)
    dalle_serve("train", "start", model, "--run", run, "--fresh-codec")
    given = (
        "--data",
        data,
        "--run",
        run,
        "--preset",
        "smoke",
        "--set",
        "adversary_width=8",
        "--set",
        "decoder_steps=8",
    )
    adversary = ("--set", "adversarial_weight=0.5", "--set", "adversarial_from=50", "--set", "adversary_layers=2")
    dalle_serve("train", "codec", *given, *adversary)
    lines = [json.loads(line) for line in (run / "vqgan" / "metrics.jsonl").read_text().splitlines()]
    assert np.mean([line["loss"] for line in lines[-10:]]) < np.mean([line["loss"] for line in lines[:10]])
    assert [line["step"] for line in lines if "adversary_loss" in line] == list(range(51, 61))
    dalle_serve("train", "decoder", *given)
    encode = ("train", "data", "encode", pictures, tmp_path / "codes", "--model", run / "model")
    assert "4 pictures" in dalle_serve(*encode)
    assert sorted(path.name for path in (run / "model" / "vqgan").iterdir()) == ["config.json", "flax_model.msgpack"]
