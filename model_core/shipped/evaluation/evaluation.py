"""A whole evaluation: networks on a data set, then pictures of a fixed list of prompts before an independent judge."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from model_core.pipeline import Pipeline
from model_core.shipped.evaluation.adherence import Adherence, adherence, best_draws, share_of_blanks
from model_core.shipped.evaluation.draws import Draws, draw_all, fingerprint
from model_core.shipped.evaluation.judge import Judge, train_judge
from model_core.shipped.evaluation.judge_art import Art, art_licences, draw_art, draw_real
from model_core.shipped.evaluation.measures import hits
from model_core.shipped.evaluation.prompts import Question
from model_core.shipped.evaluation.variety import Variety, variety
from model_core.shipped.packages import CACHE

GUIDANCE_SCALES = (1.0, 2.0, 4.0)
TEMPERATURES = (0.25, 0.5, 1.0, 1.5, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeScores:
    """How often the judge is right about real pictures, of a set that it did not learn from."""

    style: str
    is_tilted: bool
    num_pictures: int
    top_1: float
    top_5: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureScores:
    """What drawing the list of prompts showed; `licences` is a table of the art that the judge learned from."""

    num_prompts: int
    num_draws: int
    judge: tuple[JudgeScores, ...]
    adherence: tuple[Adherence, ...]
    blanks: float
    variety: Variety
    wrong: tuple[str, ...]
    licences: str


@dataclass(frozen=True, slots=True, eq=False)
class Sheets:
    """Pictures to look at: the best draw of every prompt, the first draws of some, and one prompt at many settings.

    Attributes:
      settings: seed 0 of the first prompt, a row for each of `GUIDANCE_SCALES`, a column for each of `TEMPERATURES`.
    """

    best: UInt8[np.ndarray, "P h w 3"]
    first: UInt8[np.ndarray, "rows columns h w 3"]
    settings: UInt8[np.ndarray, "scales temperatures h w 3"]


def measure_pictures(
    pipeline: Pipeline,
    questions: list[Question],
    num_draws: int,
    folder: Path,
    on_prompt: Callable[[], None] = lambda: None,
    cache: Path = CACHE,
) -> tuple[PictureScores, Sheets]:
    """Draws every prompt `num_draws` times, keeping the draws in `folder`, and has them judged.

    Raises:
      InvalidValue: more draws than can be had, or the model has no scorer.
      PackageError: the judge's art cannot be fetched.
    """
    concepts = [question.concept for question in questions]
    judge = _judge(concepts, draw_art(concepts, cache))
    real = [
        score
        for tilted in (False, True)
        for score in _judged_real(judge, concepts, draw_real(concepts, cache, tilted=tilted), tilted)
    ]
    prompts = [question.prompt for question in questions]
    draws = draw_all(pipeline, prompts, num_draws, folder / fingerprint(pipeline.bundle), on_prompt)
    images = [pipeline.image_decoder.decode(codes) for codes in draws.codes]
    logits = np.stack([judge(each) for each in images])
    labels = np.arange(len(questions))
    best_ofs = [best_of for best_of in (1, 4, 16, 64) if best_of <= num_draws]
    best = best_draws(draws.scores, best_ofs[-1])[:, 0]
    right = hits(logits[labels, best], labels, 1)
    scores = PictureScores(
        num_prompts=len(questions),
        num_draws=num_draws,
        judge=tuple(real),
        adherence=tuple(adherence(logits, labels, draws.scores, best_ofs)),
        blanks=float(np.mean([share_of_blanks(each) for each in images])),
        variety=variety(images),
        wrong=tuple(prompt for prompt, is_right in zip(prompts, right, strict=True) if not is_right),
        licences=art_licences(cache),
    )
    return scores, _sheets(images, best, draws, draw_settings(pipeline, prompts[0]))


def _judge(concepts: list[str], art: dict[str, Art]) -> Judge:
    pictures = [(picture, concepts.index(concept)) for found in art.values() for concept, picture in found.items()]
    images, labels = zip(*pictures, strict=True)
    return train_judge(images, np.array(labels), len(concepts))


def _judged_real(judge: Judge, concepts: list[str], real: dict[str, Art], tilted: bool) -> list[JudgeScores]:
    found = []
    for style, art in real.items():
        labels: Int[np.ndarray, " M"] = np.array([concepts.index(concept) for concept in art])
        logits = judge(np.stack(list(art.values())))
        top_1, top_5 = (float(hits(logits, labels, k).mean()) for k in (1, 5))
        found.append(JudgeScores(style=style, is_tilted=tilted, num_pictures=len(art), top_1=top_1, top_5=top_5))
    return found


def draw_settings(pipeline: Pipeline, prompt: str) -> UInt8[np.ndarray, "scales temperatures h w 3"]:
    """The prompt with seed 0 at every guidance scale and temperature."""
    draw = partial(pipeline.generate, prompt, seed=0)
    rows = [
        [draw(guidance_scale=scale, temperature=each)[0].image for each in TEMPERATURES] for scale in GUIDANCE_SCALES
    ]
    return np.stack(rows)


def _sheets(
    images: list[UInt8[np.ndarray, "M h w 3"]],
    best: Int[np.ndarray, " P"],
    draws: Draws,
    settings: UInt8[np.ndarray, "scales temperatures h w 3"],
) -> Sheets:
    columns = min(8, draws.codes.shape[1])
    rows = images[:: max(1, len(images) // 8)][:8]
    return Sheets(
        best=np.stack([each[which] for each, which in zip(images, best, strict=True)]),
        first=np.stack([each[:columns] for each in rows]),
        settings=settings,
    )
