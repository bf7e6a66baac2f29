"""Guidance and negative prompts, on a pipeline and a detector made by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model_core import bundles
from model_core.pipeline import Pipeline, RankedImage
from model_core.shipped.evaluation.composition import measure, steering
from model_core.shipped.evaluation.composition.detector import Found, Seen
from model_core.shipped.evaluation.composition.questions import Question
from model_core.shipped.evaluation.composition.steering import SCALES, guidance_curve, negated
from model_core.shipped.world.description import Description, Subject

THINGS = ("cat", "dog", "owl", "bee")
COLORS = ("red", "blue")


class Told(Pipeline):
    """Draws what it was told, as a picture of one pixel: which thing, and which colour, where there is anything."""

    def __init__(self) -> None:
        self.bundle = bundles.resolve("emoji")
        self.scorer: Any = object()
        self.token_sampler: Any = SimpleNamespace(config=SimpleNamespace(image_length=3))
        self.image_decoder: Any = SimpleNamespace(decode=lambda codes: codes.astype(np.uint8)[:, None, None])

    def generate(self, prompt: str, negative_prompt: str = "", guidance_scale: float = 1.0, **_: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        is_blot = prompt == "bee" or guidance_scale > 5
        color = 1 if negative_prompt == "red" and prompt != "dog" else 0  # a dog stays red
        codes = np.array([THINGS.index(prompt), color, is_blot], np.int32)
        return [RankedImage(codes.astype(np.uint8)[None, None], codes, 0, 0.0)]


def look_at_the_pixel(_params: Any, things: Any, pictures: Any) -> list[Seen]:
    seen = []
    for picture in pictures:
        thing, color, is_blot = picture[0, 0]
        found = () if is_blot else (Found(thing=things[thing], color=COLORS[color], center=(0, 0)),)
        seen.append(Seen(found=found, ground="white"))
    return seen


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "look", look_at_the_pixel)
    monkeypatch.setattr(measure, "look", look_at_the_pixel)


def questions() -> list[Question]:
    return [
        Question(row="single", prompt=name, description=Description(subjects=(Subject(name=name),), style="flat"))
        for name in THINGS
    ]


def test_the_curve_has_a_point_for_every_scale(tmp_path: Path):
    curve = guidance_curve(Told(), questions(), THINGS, {}, tmp_path)
    assert [each.scale for each in curve] == list(SCALES)
    assert [each.right for each in curve] == [0.75] * 4 + [0]
    assert [each.drawn for each in curve] == [0.75] * 4 + [0]


def test_a_negative_prompt_acts_where_the_thing_stays_and_its_color_goes():
    found = negated(Told(), questions(), THINGS, {})
    assert found.num_prompts == 3  # of the bee there is nothing to be seen
    assert found.acted == pytest.approx(2 / 3)
