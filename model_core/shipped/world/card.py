"""What the model's card says of itself: what it knows, how it may be asked for that, and settings that draw well."""

from collections.abc import Iterator
from typing import Any

from model_core.shipped.world.captions import COLOR_GROUND, FIRST_THEN_SECOND, OPENINGS, PLACE_WORDS, SIZE_WORDS
from model_core.shipped.world.description import INSIDE, RELATIONS, SIZES, WHITE
from model_core.shipped.world.vocabulary import (
    COLOR_NAMES,
    NUMBERS,
    STYLES,
    THE_FRAME,
    article_for,
    plural_of,
    read_things,
)
from model_core.vocabulary import Vocabulary

SAMPLING = {"guidance_scale": 2.5, "temperature": 0.7, "top_k": 50, "top_p": 1.0}
RANGES = {"guidance_scale": [1.0, 5.0], "temperature": [0.5, 1.0]}
ANOTHER = "tree"  # what a relation is shown with in the list of ways


def known() -> dict[str, list[str]]:
    """The vocabulary as `model.json` has it: things by name, ways to ask for each, and all other words."""
    things, ways = [thing.name for thing in read_things()], list(_ways())
    words: list[str] = []
    for phrases in (_phrases(), _plurals()):  # most plurals are known by their singulars
        words += Vocabulary([*things, *ways, *words]).unknown(" ".join(phrases))
    return {"known_things": things, "known_ways": ways, "known_words": sorted(words)}


def about(example_prompts: list[str]) -> dict[str, Any]:
    """All that the card says but for the licence and the training."""
    return {
        "id": "world",
        "description": "Draws things in colours, numbers, places and relations that it was never shown together.",
        "sampling": SAMPLING,
        "ranges": RANGES,
        "example_prompts": example_prompts,
        **known(),
    }


def _ways() -> Iterator[str]:
    yield "{}"
    yield from (f"{word} {{}}" for word in (*COLOR_NAMES, *SIZES))
    for relation in RELATIONS:
        other = THE_FRAME.name if relation == INSIDE else ANOTHER
        yield f"{{}} {relation} {article_for(other)} {other}"
    yield from (f"{{}} on {article_for(name)} {name} background" for name in (WHITE, *COLOR_NAMES))
    yield from (f"{{}} {words[0]}" for words in PLACE_WORDS.values())
    yield from (f"{{}}, {style} style" for style in STYLES)


def _phrases() -> Iterator[str]:
    """Everything that a caption may say of one thing."""
    for thing in (*read_things(), THE_FRAME):
        yield from thing.synonyms
    for words in (SIZE_WORDS, FIRST_THEN_SECOND, PLACE_WORDS):
        yield from (phrase.format(a="", b="") for phrases in words.values() for phrase in phrases)
    yield from (*NUMBERS, *OPENINGS, *(phrase.format(c="") for phrase in COLOR_GROUND), "a pair of", "that", "grey")


def _plurals() -> Iterator[str]:
    for thing in (*read_things(), THE_FRAME):
        if thing.can_be_counted:
            yield from map(plural_of, (thing.name, *thing.synonyms))
