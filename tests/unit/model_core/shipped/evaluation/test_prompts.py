"""The list of prompts: what is asked is known to the model, and a list with a mistake is refused."""

from pathlib import Path

import pytest

from model_core.errors import InvalidValue
from model_core.shipped.concepts import read_concepts
from model_core.shipped.evaluation.prompts import Question, read_questions


def test_the_list_asks_for_200_of_the_things_that_are_trained_by_their_names():
    names = {concept.hexcode: concept.name for concept in read_concepts()[:240]}
    questions = read_questions()
    assert len(questions) == 200
    assert all(names[question.concept] == question.prompt for question in questions)


def test_a_list_of_ones_own(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("1f951\ta ripe avocado\n1f34e\tan apple\n")
    assert read_questions(tmp_path / "mine.txt")[0] == Question("1f951", "a ripe avocado")


@pytest.mark.parametrize("line", ["1f34e", "1f34e\t", "\tan apple", "1f951\tagain"])
def test_a_line_with_a_mistake_is_named(tmp_path: Path, line: str):
    (tmp_path / "mine.txt").write_text(f"1f951\tavocado\n{line}\n")
    with pytest.raises(InvalidValue, match=r"mine\.txt, line 2"):
        read_questions(tmp_path / "mine.txt")
