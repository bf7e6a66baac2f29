"""Measures what a model of the world composes: `python -m model_core.shipped.evaluation.composition.run OUT`.

Trains the detector first where it is not there yet. Writes `composition.json` and `composition.md` into OUT.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model_core.pipeline import Pipeline
from model_core.shipped.evaluation.composition.art import other_sprites
from model_core.shipped.evaluation.composition.detector import DetectorRecipe, Params, load_detector, train_detector
from model_core.shipped.evaluation.composition.measure import RowScores, measure_composition
from model_core.shipped.evaluation.composition.nearest import ALIKE, distances
from model_core.shipped.evaluation.composition.questions import ROWS, Question, read_questions
from model_core.shipped.evaluation.composition.steering import Guided, Negated, guidance_curve, negated
from model_core.shipped.evaluation.draws import draw_all, fingerprint
from model_core.shipped.world.codes import SHARD
from model_core.shipped.world.recipe import CPU
from model_core.shipped.world.recipe import SEED as LEARNED
from model_core.shipped.world.scenes import World
from model_core.shipped.world.sheet import open_or_build
from model_core.shipped.world.sprites import Sprites

KEPT = Path("runs/eval")
SEED = 2  # of the detector's scenes
STEERED = 10  # questions of each row that guidance is tried on


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is measured of a model of the world.

    Attributes:
      alike: share of single draws of every question that are one of the pictures learned from.
      low_score: what the best of `best_of` has more than with 98 of 100 questions.
    """

    rows: list[RowScores]
    guidance: list[Guided]
    negative: Negated
    alike: float
    low_score: float


def detector(folder: Path, recipe: DetectorRecipe, things: list[str]) -> Params:
    """The detector of a folder, trained there first, or further, if it is not done."""
    if (folder / "done").exists():
        return load_detector(folder, len(things), recipe)
    params = train_detector(folder, things, World(sprites=other_sprites(), seed=SEED, in_last_style=0.0), recipe)
    (folder / "done").touch()
    return params


def write_report(out: Path, about: dict[str, str], report: Report) -> Path:
    """Writes the scores down; gives the path of the Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    content, rows = {"about": about} | asdict(report), report.rows
    (out / "composition.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    best_ofs = [share.best_of for share in rows[0].shares]
    head = ["row", "questions", "real scenes", *(f"best of {best_of}" for best_of in best_ofs), "different of 9"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        shares = [f"{each.right:.0%} ({each.interval[0]:.0%} … {each.interval[1]:.0%})" for each in row.shares]
        lines.append(
            f"| {row.row} | {row.num_questions} | {row.real:.0%} | {' | '.join(shares)} | {row.different:.1f} |"
        )
    lines += ["", "| guidance | right | draws something |", "|---|---|---|"]
    lines += [
        f"| {each.scale:g} | {each.right:.0%} ({each.interval[0]:.0%} … {each.interval[1]:.0%}) | {each.drawn:.0%} |"
        for each in report.guidance
    ]
    negative = report.negative
    lines += [
        "",
        f"A negative prompt with the colour of a thing took it away in {negative.acted:.0%} of {negative.num_prompts}. "
        f"Within {ALIKE:.0%} of a picture learned from: {report.alike:.0%} of single draws. "
        f"The best draw of 98 of 100 questions scores more than {report.low_score:.1f}.",
    ]
    path = out / "composition.md"
    told = "\n".join(f"* {name}: {value}" for name, value in about.items())
    path.write_text(f"# Composition\n\n{told}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def measure(
    pipeline: Pipeline, questions: list[Question], sprites: Sprites, found_by: Params, num_draws: int, num_scenes: int
) -> Report:
    """Measures everything; `num_scenes` is how many scenes the model learned from."""
    things = [thing.name for thing in sprites.things]
    rows = measure_composition(pipeline, questions, sprites, found_by, num_draws, KEPT)
    prompts = [question.prompt for question in questions]
    draws = draw_all(pipeline, prompts, num_draws, KEPT / fingerprint(pipeline.bundle))  # they are there by now
    learned = (scene.pixels for scene in World(sprites=sprites, seed=LEARNED).scenes(0, num_scenes))
    apart = distances(pipeline.image_decoder.decode(draws.codes[:, 0]), learned)
    few = [each for row in ROWS for each in [question for question in questions if question.row == row][:STEERED]]
    return Report(
        rows=rows,
        guidance=guidance_curve(pipeline, few, things, found_by, KEPT),
        negative=negated(pipeline, [each for each in questions if each.row == "color"], things, found_by),
        alike=float((apart <= ALIKE).mean()),
        low_score=float(np.quantile(draws.scores.max(axis=1), 0.02)),
    )


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description="What a model of the world composes.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--draws", type=int, default=16, help="of every question: the largest best_of")
    parser.add_argument("--per-row", type=int, default=50, help="questions of every row")
    parser.add_argument("--scenes", type=int, default=CPU.num_shards * SHARD, help="that it learned from")
    parser.add_argument("--detector", type=Path, default=Path("runs/detector"))
    chosen = parser.parse_args()
    sprites = open_or_build()
    params = detector(chosen.detector, DetectorRecipe(), [thing.name for thing in sprites.things])
    asked = read_questions()
    questions = [each for row in ROWS for each in [q for q in asked if q.row == row][: chosen.per_row]]
    pipeline = Pipeline.from_model(chosen.model, batch_size=min(16, chosen.draws))
    report = measure(pipeline, questions, sprites, params, chosen.draws, chosen.scenes)
    sampling = ", ".join(f"{name} {value}" for name, value in pipeline.bundle.sampling.items())
    about = {"model": pipeline.bundle.id, "draws": str(chosen.draws), "sampling": sampling}
    print(write_report(chosen.out, about, report).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
