"""Captions say what descriptions say."""

import random
from itertools import product

import pytest

from model_core.shipped.world import captions
from model_core.shipped.world.captions import PLACE_WORDS, SIZE_WORDS, caption_of, plain_caption, thing_of
from model_core.shipped.world.description import RELATIONS, Description, Subject
from model_core.shipped.world.vocabulary import COLOR_NAMES, NUMBERS, PLACES, plural_of

MANY = 60


def one(ground: str = "white", **subject: object) -> Description:
    return Description(subjects=(Subject(**subject),), ground=ground, style="flat")  # pyright: ignore[reportArgumentType]


@pytest.fixture
def careful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions, "CARELESS_SHARE", 0.0)


def spoken(description: Description) -> set[str]:
    return {caption_of(description, random.Random(seed)) for seed in range(MANY)}


def nouns(name: str, count: int = 1) -> list[str]:
    words = (name, *thing_of(Subject(name=name)).synonyms)
    return [plural_of(word) if count > 1 else word for word in words]


@pytest.mark.usefixtures("careful")
@pytest.mark.parametrize("color", COLOR_NAMES)
def test_thing_and_colour_are_always_said(color: str):
    for text in spoken(one(name="dinosaur", color=color)):
        assert color in text
        assert any(noun in text for noun in nouns("dinosaur"))


@pytest.mark.usefixtures("careful")
@pytest.mark.parametrize("count", [2, 3, 4])
def test_counts_are_always_said_with_a_plural(count: int):
    for text in spoken(one(name="mouse", count=count)):
        assert NUMBERS[count - 1] in text or str(count) in text or (count == 2 and "a pair of" in text)
        assert "mice" in text


@pytest.mark.usefixtures("careful")
@pytest.mark.parametrize("size", ["small", "large"])
def test_sizes_are_always_said(size: str):
    for text in spoken(one(name="owl", size=size, color="red")):
        assert any(f"{word} red owl" in text for word in SIZE_WORDS[size])


@pytest.mark.usefixtures("careful")
@pytest.mark.parametrize("place", PLACES)
def test_places_are_always_said(place: str):
    for text in spoken(one(name="owl", ground=place)):
        assert any(words in text for words in PLACE_WORDS[place])


@pytest.mark.usefixtures("careful")
def test_coloured_grounds_are_always_said_and_white_seldom():
    assert all("purple" in text for text in spoken(one(name="owl", ground="purple")))
    named = sum("white" in caption_of(one(name="owl"), random.Random(seed)) for seed in range(500))
    assert 0 < named < 60


@pytest.mark.usefixtures("careful")
@pytest.mark.parametrize("relation", RELATIONS)
def test_both_things_are_said_in_an_order_that_fits(relation: str):
    second = "frame" if relation == "inside" else "dog"
    pair = Description(subjects=(Subject(name="fox"), Subject(name=second)), relation=relation, style="flat")
    for text in spoken(pair):
        fox = text.index("fox")
        other = min(text.index(noun) for noun in nouns(second) if noun in text)
        words = f" {text} "
        if relation == "left of":
            assert ("right" in words and "left" not in words) == (other < fox)
        if relation == "right of":
            assert ("left of" in words or "on the left and" in words) == (other < fox)
        if relation in ("above", "below"):
            says_above = any(word in words for word in (" above ", " over "))
            assert (says_above == (relation == "above")) == (fox < other)
        if relation == "in front of":
            assert ("behind" in words) == (other < fox)


@pytest.mark.usefixtures("careful")
def test_there_are_many_ways_to_say_it():
    assert len(spoken(one(name="car", color="blue", ground="beach"))) > 15


@pytest.mark.usefixtures("careful")
def test_styles_are_said_now_and_then():
    styled = sum("flat" in caption_of(one(name="owl"), random.Random(seed)) for seed in range(300))
    assert 60 < styled < 150


def test_careless_captions_keep_colours_and_numbers():
    description = one(name="elephant", color="yellow", count=3, ground="orange")
    for text in spoken(description):
        words = text.lower()
        assert "yellow" in words
        assert "orange" in words
        assert "three" in words or "3" in words


def test_careless_captions_differ_in_case_articles_and_letters():
    texts = [caption_of(one(name="elephant", color="gray"), random.Random(seed)) for seed in range(1500)]
    assert any(text.isupper() for text in texts)
    assert any(text.startswith("gray elephant") for text in texts)
    assert any("grey" in text for text in texts)
    assert any("elephant" not in text.lower() for text in texts)


@pytest.mark.parametrize(
    ("description", "text"),
    [
        (one(name="owl"), "an owl"),
        (one(name="grapes", color="red"), "red grapes"),
        (one(name="bread"), "bread"),
        (one(name="cat", count=2, size="small", color="blue", ground="red"), "two small blue cats on a red background"),
        (one(name="cat", ground="beach"), "a cat on a beach"),
        (
            Description(subjects=(Subject(name="cat"), Subject(name="frame")), relation="inside", style="flat"),
            "a cat inside a frame",
        ),
    ],
)
def test_the_plain_caption(description: Description, text: str):
    assert plain_caption(description) == text


def test_same_chance_same_caption():
    for seed, name in product(range(5), ("cat", "bread")):
        texts = {caption_of(one(name=name), random.Random(seed)) for _ in range(2)}
        assert len(texts) == 1
