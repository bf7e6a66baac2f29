"""`dalle-serve refine`: what it asks a service for, and what it does without one."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments.cli import client
from deployments.cli import main as cli
from deployments.cli.client import DrawnImage
from model_core.pictures.images import encode_png

PNG = encode_png(np.zeros((4, 4, 3), np.uint8))

pytestmark = pytest.mark.usefixtures("given_back_environment")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["refine", "an avocado", *arguments])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a service is asked for, that refines at once."""
    asked: dict[str, Any] = {}

    def draw(url: str, fields: dict[str, Any], **options: Any) -> list[DrawnImage]:
        asked.update(fields)
        return [DrawnImage(png=PNG, seed=5, score=1.5)]

    monkeypatch.setattr(client, "draw", draw)
    return asked


def test_a_service_is_asked_for_its_refiner(asked: dict[str, Any], tmp_path: Path):
    (tmp_path / "mine.png").write_bytes(PNG)
    options = ("--image", str(tmp_path / "mine.png"), "--steps", "9", "--also", "-0.5 a face", "--also", "2 a hat")
    result = run("--url", "http://there", *options, "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"][0]["clip_score"] == 1.5
    assert (asked["model"], asked["steps"], asked["start"]) == ("emoji:refine", 9, None)
    assert asked["prompts"] == [{"text": "a face", "weight": -0.5}, {"text": "a hat", "weight": 2.0}]
    assert base64.b64decode(asked["images"][0]["image_url"].partition(",")[2]) == PNG


def test_noise_is_a_start_of_its_own(asked: dict[str, Any], tmp_path: Path):
    assert run("--url", "http://there", "--noise", "--out", str(tmp_path)).exit_code == 0
    assert asked["start"] == "noise" and "images" not in asked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--noise", "--image", __file__), "two beginnings"),
        (("--url", "http://there", "--way", "way.gif"), "in this process"),
        (("--also", "a face"), "is to be a weight"),
    ],
)
def test_what_does_not_go_together_is_refused(options: tuple[str, ...], message: str):
    result = run(*options)
    assert result.exit_code == 2 and message in " ".join(result.stderr.replace("│", " ").split())


def test_in_this_process_the_way_can_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """With a picture to begin with; the networks are stood in for."""
    from types import SimpleNamespace

    from model_core import bundles
    from model_core.refine import refiner

    given: dict[str, Any] = {}

    class Refiner:
        def __init__(self, codec: Path, scorer: Path, sizes: Any):
            given.update(sizes=sizes)

        def refine(self, refinement: Any, image: np.ndarray) -> Any:
            given.update(refinement=refinement, start=image)
            for step in (0, 4):
                yield SimpleNamespace(image=np.full((32, 32, 3), 50 * step, np.uint8), score=float(step), step=step)

    bundle = SimpleNamespace(codec=tmp_path, scorer=tmp_path, size=32)
    monkeypatch.setattr(bundles, "resolve", lambda *_, **__: bundle)
    monkeypatch.setattr(refiner, "Refiner", Refiner)
    (tmp_path / "mine.png").write_bytes(PNG)
    way = tmp_path / "way.gif"
    options = ("--image", str(tmp_path / "mine.png"), "--steps", "4", "--seed", "3", "--way", str(way))
    result = run(*options, "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert (given["refinement"].steps, given["refinement"].seed, given["start"].shape) == (4, 3, (32, 32, 3))
    assert json.loads(result.stdout)["images"][0] | {"file": ""} == {"file": "", "seed": 3, "clip_score": 4.0}
    assert way.read_bytes().startswith(b"GIF89a")
