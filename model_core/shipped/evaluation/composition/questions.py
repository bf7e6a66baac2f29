"""The fixed prompts that a model of the world is measured by, and what each picture should show.

`questions.jsonl` was drawn once by `make_questions` and is committed, so that no run chooses its own questions.
Colours, pairs, relations and grounds are combinations that no training scene has (`world/description.py`).
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from model_core.errors import InvalidValue
from model_core.shipped.world.captions import plain_caption
from model_core.shipped.world.description import (
    BESIDE,
    KINDS,
    STACKED,
    Description,
    Subject,
    held_out_kinds,
)
from model_core.shipped.world.scenes import World
from model_core.shipped.world.vocabulary import COLOR_NAMES, GROUNDS

QUESTIONS = Path(__file__).with_name("questions.jsonl")
ROWS = ("single", "color", "count", "pair", "relation", "ground")
PLACED = (*BESIDE[1:], *STACKED)  # the relations whose sides can be told


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt, what its picture should show, and the row of the table that it belongs to."""

    row: str
    prompt: str
    description: Description


def make_questions(world: World, per_row: int, seed: int = 0) -> list[Question]:
    """So many questions of every row, drawn by chance among all that the world could be asked.

    Args:
      world: `World(held_out=True)`, of scenes that training never sees.
    """
    rng = random.Random(f"questions {seed}")
    return [question for row in ROWS for question in _some(row, world, per_row, rng)]


def read_questions(path: Path = QUESTIONS) -> list[Question]:
    """Reads what `write_questions` wrote.

    Raises:
      InvalidValue: a line is not a question.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            raw = json.loads(line)
            shown = raw["description"]
            subjects = tuple(Subject(**subject) for subject in shown["subjects"])
            description = Description(**shown | {"subjects": subjects})
            found.append(Question(row=raw["row"], prompt=raw["prompt"], description=description))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidValue(f"{path.name}, line {number} is no question: {error}.") from error
    return found


def write_questions(path: Path, questions: list[Question]) -> None:
    """Writes a question a line, as JSON."""
    lines = [json.dumps(asdict(question), ensure_ascii=False) for question in questions]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _some(row: str, world: World, count: int, rng: random.Random) -> Iterator[Question]:
    seen = set()
    while len(seen) < count:
        description = _imagine(row, world, rng)
        prompt = plain_caption(description)
        is_unseen = row in held_out_kinds(description) and world.may_show(description)
        if prompt in seen or (row in KINDS and not is_unseen):
            continue
        seen.add(prompt)
        yield Question(row=row, prompt=prompt, description=description)


def _imagine(row: str, world: World, rng: random.Random) -> Description:
    """What a question of a row could ask for; its style, which no prompt says, is chance."""
    things = [thing for thing in world.things if thing.can_be_counted and thing.can_be_colored]
    one, other = (Subject(name=thing.name) for thing in rng.sample(things, 2))
    told = partial(Description, style=rng.choice(world.styles))
    if row == "single":
        return told(subjects=(Subject(name=rng.choice(world.things).name),))
    if row == "color":
        return told(subjects=(replace(one, color=rng.choice(COLOR_NAMES)),))
    if row == "count":
        return told(subjects=(replace(one, count=rng.randint(1, 4)),))
    if row == "ground":
        return told(subjects=(one,), ground=rng.choice(GROUNDS[1:]))
    return told(subjects=(one, other), relation="next to" if row == "pair" else rng.choice(PLACED))
