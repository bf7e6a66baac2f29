"""Words that a model was never taught."""

import pytest

from model_core.vocabulary import Vocabulary, low_score_warning

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


@pytest.mark.parametrize(
    ("scores", "low", "is_said"),
    [
        ((20.0, 25.0), 24.0, False),
        ((20.0, 23.9), 24.0, True),
        ((None,), 24.0, False),
        ((1.0,), None, False),
        ((), 24.0, False),
    ],
)
def test_a_low_best_score_is_said_where_it_is_known_what_is_low(scores, low, is_said: bool):
    warning = low_score_warning(scores, low)
    assert ("23.9" in warning and "24.0" in warning) if is_said and warning else (warning is None and not is_said)
