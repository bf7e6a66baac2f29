"""Words that a model was never taught."""

import pytest

from model_core.vocabulary import Vocabulary

KNOWN = Vocabulary(["red apple", "fox", "cherries", "wolf", "bus stop", "{} on a blue background", "dog's bone"])


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a red fox on a blue background", []),
        ("Two FOXES and wolves, please", ["two"]),
        ("a cherry", []),
        ("an illustration of the Eiffel Tower in red, eiffel!", ["eiffel", "tower"]),
        ("dogs", []),
        ("buses", []),
        ("a bone's apple", []),
        ("42 ☃ __", []),
        ("", []),
        ("строка", ["строка"]),
        ("l’apple", ["l'apple"]),
    ],
)
def test_unknown_words_are_named_once_in_order(prompt: str, unknown: list[str]):
    assert KNOWN.unknown(prompt) == unknown


def test_where_nothing_is_known_of_it_nothing_is_unknown():
    assert Vocabulary([]).unknown("anything at all") == []


@pytest.mark.parametrize(
    ("prompt", "warning"),
    [
        ("a fox", None),
        ("a foxx on an appel", "the words 'foxx', 'appel', so it may draw something else; try fox, apple."),
        (
            "the Eiffel Tower",
            "the words 'eiffel', 'tower', so it may draw something else; try, for example, red apple.",
        ),
        ("q w e r t z", "the words 'q', 'w', 'e', 'r', 't' and more, so"),
    ],
)
def test_a_warning_names_unknown_words_and_what_is_near(prompt: str, warning: str | None):
    told = KNOWN.warning(prompt)
    assert told is None if warning is None else warning in str(told)
