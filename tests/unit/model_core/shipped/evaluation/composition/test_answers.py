"""What counts as right, on findings written by hand."""

import pytest

from model_core.shipped.evaluation.composition.answers import is_right
from model_core.shipped.evaluation.composition.detector import Found, Seen
from model_core.shipped.evaluation.composition.questions import Question
from model_core.shipped.world.description import Description, Subject


def question(row: str, *subjects: Subject, relation: str = "", ground: str = "white") -> Question:
    description = Description(subjects=subjects, relation=relation, ground=ground, style="flat")
    return Question(row=row, prompt="", description=description)


def seen(*found: Found, ground: str = "white") -> Seen:
    return Seen(found=found, ground=ground)


def at(thing: str, across: float = 64, down: float = 64, color: str = "red") -> Found:
    return Found(thing=thing, color=color, center=(across, down))


CAT, DOG = Subject(name="cat"), Subject(name="dog")


def test_a_single_thing_has_to_be_there():
    asked = question("single", CAT)
    assert is_right(asked, seen(at("dog"), at("cat")))
    assert not is_right(asked, seen(at("dog")))
    assert not is_right(asked, seen())


def test_the_thing_itself_has_to_have_the_color():
    asked = question("color", Subject(name="cat", color="blue"))
    assert is_right(asked, seen(at("cat", color="blue")))
    assert not is_right(asked, seen(at("cat"), at("dog", color="blue")))


@pytest.mark.parametrize(("cats", "dogs", "right"), [(2, 0, True), (1, 0, False), (3, 0, False), (2, 1, False)])
def test_a_number_is_exact_and_of_nothing_else(cats: int, dogs: int, right: bool):
    asked = question("count", Subject(name="cat", count=2))
    assert is_right(asked, seen(*[at("cat")] * cats, *[at("dog")] * dogs)) == right


def test_both_of_a_pair_have_to_be_there():
    asked = question("pair", CAT, DOG, relation="next to")
    assert is_right(asked, seen(at("dog"), at("cat")))
    assert not is_right(asked, seen(at("cat"), at("cat")))


@pytest.mark.parametrize(
    ("relation", "cat"), [("left of", (20, 64)), ("right of", (100, 64)), ("above", (64, 20)), ("below", (64, 100))]
)
def test_places_are_seen_from_the_second_thing(relation: str, cat: tuple[float, float]):
    right = seen(at("cat", *cat), at("dog"))
    for asked in ("left of", "right of", "above", "below"):
        assert is_right(question("relation", CAT, DOG, relation=asked), right) == (asked == relation)
    near = seen(at("cat", 64 + (cat[0] - 64) / 10, 64 + (cat[1] - 64) / 10), at("dog"))
    assert not is_right(question("relation", CAT, DOG, relation=relation), near)


def test_a_ground_needs_the_thing_on_it():
    asked = question("ground", CAT, ground="beach")
    assert is_right(asked, seen(at("cat"), ground="beach"))
    assert not is_right(asked, seen(at("cat")))
    assert not is_right(asked, seen(at("dog"), ground="beach"))
