"""The fixed list of things that a model is asked to draw when it is judged.

`prompts.txt` holds the first 200 things of `training/concepts.txt` that at least three of the judge's art sets draw. It
is committed, so that no run chooses its own questions.
"""

from dataclasses import dataclass
from pathlib import Path

from model_core.errors import InvalidValue

PROMPTS = Path(__file__).with_name("prompts.txt")


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, and the thing that its picture should show."""

    concept: str
    prompt: str


def read_questions(path: Path = PROMPTS) -> list[Question]:
    """Reads lines of a code point in hex, a tab and a prompt.

    Raises:
      InvalidValue: a line is not of that form, or a concept comes twice.
    """
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        concept, _, prompt = line.partition("\t")
        if not concept or not prompt or concept in {question.concept for question in questions}:
            raise InvalidValue(f"{path.name}, line {number}: expected a new code point, a tab and a prompt: {line!r}.")
        questions.append(Question(concept, prompt))
    return questions
