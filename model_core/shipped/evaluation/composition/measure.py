"""How often pictures show the things, colours, numbers, places and grounds that were asked for together.

A detector that saw neither the model nor its drawings says what is right (`detector.py`). It errs, so every number
stands beside the same number for real scenes: the same descriptions, drawn with what the model learned from.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from model_core.pipeline import Pipeline
from model_core.shipped.evaluation.adherence import best_draws
from model_core.shipped.evaluation.composition.answers import is_right
from model_core.shipped.evaluation.composition.detector import Params, look
from model_core.shipped.evaluation.composition.questions import ROWS, Question
from model_core.shipped.evaluation.draws import draw_all, fingerprint
from model_core.shipped.evaluation.measures import interval
from model_core.shipped.evaluation.variety import DRAWS, num_different
from model_core.shipped.world.scenes import draw_scene
from model_core.shipped.world.sprites import Sprites

REAL = 4  # real scenes of every question

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of the chosen pictures are right, with an interval of 95 % over questions; and what choosing gained."""

    best_of: int
    right: float
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScores:
    """One row of the table.

    Attributes:
      real: share of real scenes that the detector calls right: what a perfect model would reach.
      different: of the first nine draws of a question, how many are different pictures, on average.
    """

    row: str
    num_questions: int
    real: float
    shares: tuple[Share, ...]
    different: float


def measure_composition(
    pipeline: Pipeline,
    questions: Sequence[Question],
    sprites: Sprites,
    detector: Params,
    num_draws: int,
    folder: Path,
    on_prompt: Callable[[], None] = lambda: None,
) -> list[RowScores]:
    """Draws every question `num_draws` times, seeds from 0, and looks at the pictures.

    Args:
      sprites: the drawings that the model learned from, for the real scenes.
      folder: where draws are kept.
    """
    things = [thing.name for thing in sprites.things]
    prompts = [question.prompt for question in questions]
    draws = draw_all(pipeline, prompts, num_draws, folder / fingerprint(pipeline.bundle), on_prompt)
    images = [pipeline.image_decoder.decode(codes) for codes in draws.codes]
    right = judged(questions, images, detector, things)
    real = judged(questions, [_real(question, sprites) for question in questions], detector, things)
    found = []
    for row in ROWS:
        chosen = [place for place, question in enumerate(questions) if question.row == row]
        if chosen:
            different = float(np.mean([num_different(images[place][:DRAWS]) for place in chosen]))
            shares = _shares(right[chosen], draws.scores[chosen])
            found.append(
                RowScores(
                    row=row,
                    num_questions=len(chosen),
                    real=float(real[chosen].mean()),
                    shares=shares,
                    different=different,
                )
            )
    return found


def judged(
    questions: Sequence[Question], pictures: Iterable[Iterable[Picture]], detector: Params, things: Sequence[str]
) -> Bool[np.ndarray, "P M"]:
    """Whether each of the pictures of each question shows what it asks for."""
    pairs = zip(questions, pictures, strict=True)
    return np.array([[is_right(one, seen) for seen in look(detector, things, list(some))] for one, some in pairs])


def _real(question: Question, sprites: Sprites) -> list[Picture]:
    chance = random.Random(f"real {question.prompt}")
    return [draw_scene(question.description, sprites, chance)[0] for _ in range(REAL)]


def _shares(right: Bool[np.ndarray, "P M"], scores: Float32[np.ndarray, "P M"]) -> tuple[Share, ...]:
    single, found = right.mean(axis=1), []
    for best_of in (1, 4, 16, 64):
        if best_of <= scores.shape[1]:
            best = np.take_along_axis(right, best_draws(scores, best_of), axis=1).mean(axis=1)
            found.append(
                Share(
                    best_of=best_of,
                    right=float(best.mean()),
                    interval=interval(best),
                    gain=float((best - single).mean()),
                    gain_interval=interval(best - single),
                )
            )
    return tuple(found)
