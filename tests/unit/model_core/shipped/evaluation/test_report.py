"""The report says what was measured, and shows it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.shipped.evaluation.adherence import adherence
from model_core.shipped.evaluation.evaluation import JudgeScores, PictureScores, Sheets
from model_core.shipped.evaluation.networks import GroupScores
from model_core.shipped.evaluation.report import write_report
from model_core.shipped.evaluation.variety import Variety
from model_core.shipped.evaluation.wishes import WishScores

NETWORKS = GroupScores(
    split="train",
    style="flat",
    num_pictures=239,
    psnr=23.45,
    ssim=0.928,
    codes_used=0.99,
    nll=0.161,
    nll_wrong_prompt=1.18,
    recall_at_1=None,
    recall_at_5=None,
)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture(scope="module")
def pictures() -> PictureScores:
    """Three prompts of four draws, judged by chance; two of the chosen are wrong."""
    logits = np.random.default_rng(0).normal(size=(3, 4, 3))
    scores = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    return PictureScores(
        num_prompts=3,
        num_draws=4,
        judge=(
            JudgeScores(style="flat", is_tilted=False, num_pictures=200, top_1=0.84, top_5=0.92),
            JudgeScores(style="flat", is_tilted=True, num_pictures=200, top_1=0.69, top_5=0.88),
        ),
        adherence=tuple(adherence(logits, np.arange(3), scores, [1, 4])),
        blanks=0.0125,
        variety=Variety(mean_difference=0.031, num_draws=4, num_different=2.5, alike=0.125),
        wrong=("pizza", "rocket"),
        licences="| a table |\n",
    )


def test_everything_measured_is_in_the_report(tmp_path: Path, pictures: PictureScores):
    black = np.zeros((3, 4, 128, 128, 3), np.uint8)
    sheets = Sheets(best=black[:, 0], first=black[:2], settings=black[:, :2])
    path = write_report(tmp_path, {"model": "emoji"}, [NETWORKS], pictures, sheets)
    text = path.read_text()
    assert "| model | emoji |" in text
    assert "| train | flat | 239 | 23.4 | 0.928 | 99% | 0.161 | 1.180 | – | – |" in text
    assert "| flat | 200 | 84.0% | 92.0% |" in text
    assert "| flat, tilted | 200 | 69.0% | 88.0% |" in text
    assert text.count("× (flat, top-1)") == 1  # relative to upright pictures
    assert "differ by 3.1% of" in text
    assert "Of the first 4 draws 2.5 are different pictures, on average; with 12.5% of the prompts they" in text
    assert "Blank pictures: 1.2%" in text
    assert "(2): pizza, rocket." in text
    for each in pictures.adherence:
        assert f"| {each.best_of} | {each.top_1:.1%} (" in text
    for name, size in (("best.png", (3 * 64, 64)), ("seeds.png", (4 * 64, 2 * 64)), ("settings.png", (2 * 64, 3 * 64))):
        assert f"({name})" in text
        assert size_of(tmp_path / name) == size
    assert size_of(tmp_path / "adherence.png")[0] > 100
    raw = json.loads((tmp_path / "evaluation.json").read_text())
    assert raw["networks"][0]["psnr"] == 23.45
    assert raw["pictures"]["adherence"][1]["best_of"] == 4


def test_colours_and_styles_have_a_row_for_each_kind(tmp_path: Path):
    new = WishScores(
        kind="background",
        is_seen=False,
        num_prompts=100,
        right=0.96,
        right_interval=(0.92, 0.99),
        thing=0.9,
        whole=None,
        num_different=2.25,
    )
    seen = replace(new, is_seen=True, whole=0.85, num_different=3.0)
    path = write_report(tmp_path, {"model": "emoji"}, [NETWORKS], wishes=[seen, new])
    assert "| background | no | 100 | 96.0% (92.0 … 99.0) | 90.0% | – | 2.2 |" in path.read_text()
    assert "| background | yes | 100 | 96.0% (92.0 … 99.0) | 90.0% | 85.0% | 3.0 |" in path.read_text()
    assert json.loads((tmp_path / "evaluation.json").read_text())["wishes"][0]["right"] == 0.96


def test_a_report_of_the_networks_alone(tmp_path: Path):
    text = write_report(tmp_path, {"model": "emoji"}, [NETWORKS]).read_text()
    assert "The pictures" not in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.json", "evaluation.md"]
