"""What the card says that the model knows is what its captions say."""

import random
from pathlib import Path

from model_core.shipped.evaluation.composition.questions import read_questions
from model_core.shipped.world import captions
from model_core.shipped.world.captions import caption_of
from model_core.shipped.world.card import about, known
from model_core.shipped.world.description import RELATIONS
from model_core.shipped.world.vocabulary import COLOR_NAMES, GROUNDS, STYLES, read_things
from model_core.vocabulary import Vocabulary

PROMPTS = Path(__file__).parent / "prompts"


def vocabulary() -> Vocabulary:
    return Vocabulary(phrase for phrases in known().values() for phrase in phrases)


def test_things_and_ways_are_all_that_there_are():
    assert known()["known_things"] == [thing.name for thing in read_things()]
    ways = " ; ".join(known()["known_ways"])
    assert all(word in ways for word in (*COLOR_NAMES, *RELATIONS, *STYLES, *GROUNDS))
    assert all(way.count("{}") == 1 for way in known()["known_ways"])


def test_no_word_is_named_that_things_and_ways_have():
    words = known()
    others = Vocabulary([*words["known_things"], *words["known_ways"]])
    assert all(others.unknown(word) for word in words["known_words"])
    assert len(set(words["known_words"])) == len(words["known_words"])


def test_every_word_of_every_caption_is_known(monkeypatch):
    monkeypatch.setattr(
        captions, "CARELESS_SHARE", 0.0
    )  # a word that is mistyped is unknown, and what is near is named
    rng, words = random.Random(0), vocabulary()
    said = [caption_of(question.description, rng) for question in read_questions() for _ in range(5)]
    assert {caption: unknown for caption in said if (unknown := words.unknown(caption))} == {}


def test_of_what_people_ask_for_what_the_model_was_not_taught_is_told_apart():
    words = vocabulary()
    for name, expected in (("known", 0), ("unknown", 100)):
        prompts = (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        assert len(set(prompts)) == 100
        assert sum(bool(words.unknown(prompt)) for prompt in prompts) == expected


def test_the_card_has_examples_and_defaults_within_its_ranges():
    card = about(["a cat"])
    assert card["example_prompts"] == ["a cat"]
    for name, (low, high) in card["ranges"].items():
        assert low <= card["sampling"][name] <= high
