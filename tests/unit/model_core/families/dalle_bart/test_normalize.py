"""What is true of normalised prompts and of splitting hashtags."""

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.families.dalle_bart.normalize import WordList, normalize

ANY_TEXT = st.text(st.characters(codec=None), max_size=200)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(prompt=ANY_TEXT)
def test_result_is_tidy_ascii_after_one_space(prompt):
    text = normalize(prompt)
    assert text.startswith(" ")
    assert text.isascii()
    assert text == text.lower()
    assert "  " not in text
    assert not set(text) & set("()[]{}|:;?!=+~`#_\\\t\n")


def test_lone_person_is_always_a_person():
    assert normalize("<PERSON> in a park") == " a person in a park"


@pytest.mark.parametrize(
    "prompt",
    [
        " \t" * 100_000,
        "' " * 100_000,
        ", " * 100_000,
        "<person>" + ",and" * 100_000,
        "<" * 100_000,
        "[1] " * 50_000,
        "#" + "ab" * 10_000,
    ],
    ids=["spaces", "quotes", "commas", "persons", "tags", "references", "hashtag"],
)
@pytest.mark.timeout(60)  # what takes time that grows with the square takes hours
def test_long_prompts_take_time_in_proportion(prompt):
    assert normalize(prompt, ["a 1", "b 1"]).startswith(" ")


def test_words_come_from_a_path_lines_or_a_list(tmp_path):
    lines = ["sunset 9", "lover 5", "sun"]
    path = tmp_path / "words.txt"
    path.write_text("\n".join(lines))
    for source in (path, str(path), lines, WordList(lines)):
        assert normalize("#sunsetLover", source) == " sunset lover"
    assert normalize("#sunsetLover") == " sunsetlover"


def test_digits_are_put_together_again():
    assert WordList(["in", "2", "0"]).split("in2020") == ["in", "2020"]


def test_underscores_part_words_and_unknown_letters_stand_alone():
    assert WordList(["red", "fox"]).split("red_fox_zz") == ["red", "fox", "z", "z"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, unique=True), st.text("ab", min_size=1, max_size=7))
def test_split_is_the_cheapest_of_all(words, hashtag):
    cost = {word: math.log(rank) for rank, word in enumerate(words, 1)}

    def total(pieces: list[str]) -> float:
        return sum(cost.get(piece, math.inf) for piece in pieces)

    every_split = [
        [hashtag[i:j] for i, j in zip((0, *cuts), (*cuts, len(hashtag)), strict=True)]
        for count in range(len(hashtag))
        for cuts in combinations(range(1, len(hashtag)), count)
    ]
    found = WordList(words).split(hashtag)
    assert "".join(found) == hashtag
    assert total(found) == pytest.approx(min(map(total, every_split)))
