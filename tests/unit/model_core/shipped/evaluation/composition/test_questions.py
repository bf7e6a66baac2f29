"""The committed questions are what their rule makes, and ask for what training never shows."""

from collections import Counter
from pathlib import Path

import pytest

from model_core.errors import InvalidValue
from model_core.shipped.evaluation.composition.questions import (
    PLACED,
    ROWS,
    make_questions,
    read_questions,
    write_questions,
)
from model_core.shipped.world.captions import plain_caption
from model_core.shipped.world.description import KINDS, held_out_kinds
from model_core.shipped.world.scenes import World
from model_core.shipped.world.vocabulary import all_things
from tests.unit.model_core.shipped.world.things_made_here import sprites


def test_every_row_has_as_many_questions_and_none_comes_twice():
    questions = read_questions()
    assert Counter(question.row for question in questions) == dict.fromkeys(ROWS, 50)
    assert len({(question.row, question.prompt) for question in questions}) == len(questions)


def test_what_is_asked_for_is_held_out_and_said_plainly():
    for question in read_questions():
        assert question.prompt == plain_caption(question.description)
        assert {subject.name for subject in question.description.subjects} <= all_things().keys()
        if question.row in KINDS:
            assert question.row in held_out_kinds(question.description)


def test_each_row_asks_for_its_own():
    for question in read_questions():
        subjects, relation = question.description.subjects, question.description.relation
        assert len(subjects) == (2 if question.row in ("pair", "relation") else 1)
        assert bool(subjects[0].color) == (question.row == "color")
        assert (relation in PLACED) == (question.row == "relation")
        assert (question.description.ground != "white") == (question.row == "ground")


def test_questions_are_made_alike_and_read_back(tmp_path: Path):
    world = World(sprites=sprites(), held_out=True)
    questions = make_questions(world, 2)
    assert questions == make_questions(world, 2) != make_questions(world, 2, seed=1)
    write_questions(tmp_path / "some.jsonl", questions)
    assert read_questions(tmp_path / "some.jsonl") == questions


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"row": "single"}', '{"row": "single", "prompt": "a", "description": {}}']
)
def test_a_line_that_is_no_question_is_named(line: str, tmp_path: Path):
    (tmp_path / "some.jsonl").write_text(line)
    with pytest.raises(InvalidValue, match="line 1"):
        read_questions(tmp_path / "some.jsonl")
