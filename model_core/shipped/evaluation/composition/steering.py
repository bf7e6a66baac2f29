"""Whether a model follows what steers it: guidance towards the prompt, and a negative prompt away from itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_core.pipeline import Pipeline
from model_core.shipped.evaluation.composition.detector import Params, Seen, look
from model_core.shipped.evaluation.composition.measure import judged
from model_core.shipped.evaluation.composition.questions import Question
from model_core.shipped.evaluation.draws import draw_all, fingerprint
from model_core.shipped.evaluation.measures import interval

SCALES = (1.0, 2.0, 3.0, 5.0, 10.0)
NEGATIVES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Guided:
    """What one guidance scale gives, over all questions.

    Attributes:
      right: share of the pictures that show what was asked, with an interval of 95 % over questions.
      drawn: share of the pictures that show anything that the detector knows.
    """

    scale: float
    right: float
    interval: tuple[float, float]
    drawn: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Negated:
    """What a negative prompt did to pictures of a thing: it named the colour that the thing had without it.

    Attributes:
      acted: share of those with a thing in which it is still there, and no longer in that colour.
      num_prompts: how many had the thing without the negative prompt, and so were asked again.
    """

    acted: float
    num_prompts: int


def guidance_curve(
    pipeline: Pipeline, questions: Sequence[Question], things: Sequence[str], detector: Params, folder: Path
) -> list[Guided]:
    """One draw of every question, seed 0, at each of `SCALES`."""
    curve = []
    for scale in SCALES:
        kept = folder / fingerprint(pipeline.bundle, guidance_scale=scale)
        draws = draw_all(pipeline, [each.prompt for each in questions], 1, kept, guidance_scale=scale)
        images = pipeline.image_decoder.decode(draws.codes[:, 0])
        right = judged(questions, images[:, None], detector, things)[:, 0]
        drawn = np.mean([bool(seen.found) for seen in look(detector, things, list(images))])
        curve.append(
            Guided(scale=scale, right=float(right.mean()), interval=interval(right.astype(float)), drawn=float(drawn))
        )
    return curve


def negated(pipeline: Pipeline, questions: Sequence[Question], things: Sequence[str], detector: Params) -> Negated:
    """Draws things by their names, then with the colour that each has as the negative prompt, the same seed."""
    names = list(dict.fromkeys(each.description.subjects[0].name for each in questions))[:NEGATIVES]
    colors = {name: color for name in names if (color := _color(name, _drawn(pipeline, name, "", things, detector)))}
    acted = []
    for name, color in colors.items():
        after = _color(name, _drawn(pipeline, name, color, things, detector))
        acted.append(bool(after) and after != color)
    return Negated(acted=float(np.mean(acted)) if acted else 0.0, num_prompts=len(acted))


def _drawn(pipeline: Pipeline, prompt: str, negative: str, things: Sequence[str], detector: Params) -> Seen:
    (image,) = pipeline.generate(prompt, seed=0, negative_prompt=negative)
    return look(detector, things, [image.image])[0]


def _color(name: str, seen: Seen) -> str:
    """The colour of the first thing of this name; empty where there is none."""
    return next((found.color for found in seen.found if found.thing == name), "")
