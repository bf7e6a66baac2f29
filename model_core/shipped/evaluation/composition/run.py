"""Measures what a model of the world composes: `python -m model_core.shipped.evaluation.composition.run OUT`.

Trains the detector first where it is not there yet. Writes `composition.json` and `composition.md` into OUT.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from model_core.pipeline import Pipeline
from model_core.shipped.evaluation.composition.art import other_sprites
from model_core.shipped.evaluation.composition.detector import DetectorRecipe, Params, load_detector, train_detector
from model_core.shipped.evaluation.composition.measure import RowScores, measure_composition
from model_core.shipped.evaluation.composition.questions import ROWS, read_questions
from model_core.shipped.world.scenes import World
from model_core.shipped.world.sheet import open_or_build

KEPT = Path("runs/eval")
SEED = 2  # of the detector's scenes


def detector(folder: Path, recipe: DetectorRecipe, things: list[str]) -> Params:
    """The detector of a folder, trained there first, or further, if it is not done."""
    if (folder / "done").exists():
        return load_detector(folder, len(things), recipe)
    params = train_detector(folder, things, World(sprites=other_sprites(), seed=SEED), recipe)
    (folder / "done").touch()
    return params


def write_report(out: Path, about: dict[str, str], rows: list[RowScores]) -> Path:
    """Writes the scores down; gives the path of the Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    content = {"about": about, "rows": [asdict(row) for row in rows]}
    (out / "composition.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    best_ofs = [share.best_of for share in rows[0].shares]
    head = ["row", "questions", "real scenes", *(f"best of {best_of}" for best_of in best_ofs), "different of 9"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        shares = [f"{each.right:.0%} ({each.interval[0]:.0%} … {each.interval[1]:.0%})" for each in row.shares]
        lines.append(
            f"| {row.row} | {row.num_questions} | {row.real:.0%} | {' | '.join(shares)} | {row.different:.1f} |"
        )
    path = out / "composition.md"
    told = "\n".join(f"* {name}: {value}" for name, value in about.items())
    path.write_text(f"# Composition\n\n{told}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description="What a model of the world composes.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--draws", type=int, default=16, help="of every question: the largest best_of")
    parser.add_argument("--per-row", type=int, default=50, help="questions of every row")
    parser.add_argument("--detector", type=Path, default=Path("runs/detector"))
    chosen = parser.parse_args()
    sprites = open_or_build()
    params = detector(chosen.detector, DetectorRecipe(), [thing.name for thing in sprites.things])
    asked = read_questions()
    questions = [each for row in ROWS for each in [q for q in asked if q.row == row][: chosen.per_row]]
    pipeline = Pipeline.from_model(chosen.model, batch_size=min(16, chosen.draws))
    rows = measure_composition(pipeline, questions, sprites, params, chosen.draws, KEPT)
    sampling = ", ".join(f"{name} {value}" for name, value in pipeline.bundle.sampling.items())
    about = {"model": pipeline.bundle.id, "draws": str(chosen.draws), "sampling": sampling}
    print(write_report(chosen.out, about, rows).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
