"""Descriptions → what a person would type for them: many phrasings, synonyms, and carelessness.

Knows no pictures. A caption says everything that the description says, but for a white ground and the style, which are
named now and then, and for "next to", which is often just "and".
"""

import random
import re

from model_core.shipped.world.description import INSIDE, WHITE, Description, Subject
from model_core.shipped.world.vocabulary import (
    COLOR_NAMES,
    NUMBERS,
    THE_FRAME,
    Thing,
    all_things,
    article_for,
    plural_of,
)

SYNONYM_SHARE = 0.3
STYLE_SHARE = 0.35
WHITE_SHARE = 0.06  # of the captions name a white ground
CARELESS_SHARE = 0.2
SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "large": ("large", "large", "big", "big", "huge")}
OPENINGS = ("a picture of", "a drawing of", "an image of", "picture of", "draw", "show me", "an illustration of")
FIRST_THEN_SECOND = {
    "next to": ("{a} next to {b}", "{a} next to {b}", "{a} beside {b}", "{a} and {b}", "{a} and {b}", "{b} and {a}"),
    "left of": (
        "{a} left of {b}",
        "{a} to the left of {b}",
        "{a} on the left of {b}",
        "{a} on the left and {b} on the right",
        "{b} right of {a}",
    ),
    "right of": (
        "{a} right of {b}",
        "{a} to the right of {b}",
        "{a} on the right of {b}",
        "{b} on the left and {a} on the right",
        "{b} left of {a}",
    ),
    "above": ("{a} above {b}", "{a} above {b}", "{a} over {b}", "{b} below {a}", "{b} under {a}"),
    "below": ("{a} below {b}", "{a} below {b}", "{a} under {b}", "{a} beneath {b}", "{b} above {a}"),
    "in front of": ("{a} in front of {b}", "{a} in front of {b}", "{b} behind {a}"),
    "on top of": ("{a} on top of {b}", "{a} on top of {b}", "{a} on {b}", "{a} standing on {b}"),
    INSIDE: ("{a} inside {b}", "{a} inside {b}", "{a} in {b}", "{b} with {a} in it", "{b} around {a}"),
}
PLACE_WORDS = {
    "sky": ("in the sky", "in the sky", "in a blue sky", "up in the sky"),
    "night sky": ("in the night sky", "in a night sky", "at night", "under the stars"),
    "grass": ("on grass", "on the grass", "in a meadow", "on a green field"),
    "beach": ("on a beach", "on the beach", "at the beach"),
    "water": ("in the water", "in the sea", "in the ocean", "in water"),
    "snow": ("in the snow", "in the snow", "on snow", "in winter"),
    "desert": ("in the desert", "in a desert"),
    "room": ("in a room", "in a room", "indoors", "inside a house"),
}
COLOR_GROUND = ("on a {c} background", "on a {c} background", "on {c}", "with a {c} background", "{c} background")


def caption_of(description: Description, rng: random.Random) -> str:
    """One of the ways in which a person would ask for a scene, drawn by chance."""
    subjects = [_say(subject, rng) for subject in description.subjects]
    if len(subjects) == 1 and rng.random() < 0.06:
        subjects = [_say_what_color(description.subjects[0]) or subjects[0]]
    if len(subjects) == 2:
        pattern = rng.choice(FIRST_THEN_SECOND[description.relation])
        text = pattern.format(a=subjects[0], b=subjects[1])
    else:
        text = subjects[0]
    if rng.random() < 0.12:
        text = f"{rng.choice(OPENINGS)} {text}"
    text = _with_ground(text, description.ground, rng)
    if rng.random() < STYLE_SHARE:
        text += rng.choice((", {} style", ", {} style", " in {} style", " {}")).format(description.style)
    return _carelessly(text, rng) if rng.random() < CARELESS_SHARE else text


def plain_caption(description: Description) -> str:
    """The one plain way: "two small blue cats left of a tree on a red background"."""
    subjects = [_noun_phrase(subject, thing_of(subject).name) for subject in description.subjects]
    text = f" {description.relation} ".join(subjects)
    if description.ground == WHITE:
        return text
    if description.ground in COLOR_NAMES:
        return f"{text} on a {description.ground} background"
    return f"{text} {PLACE_WORDS[description.ground][0]}"


def thing_of(subject: Subject) -> Thing:
    """The thing that a subject is, or are."""
    return THE_FRAME if subject.name == THE_FRAME.name else all_things()[subject.name]


def _say(subject: Subject, rng: random.Random) -> str:
    thing = thing_of(subject)
    noun = rng.choice(thing.synonyms) if thing.synonyms and rng.random() < SYNONYM_SHARE else thing.name
    size = rng.choice(SIZE_WORDS[subject.size]) if subject.size else ""
    number = str(subject.count) if rng.random() < 0.15 else NUMBERS[subject.count - 1]
    if subject.count == 2 and not size and rng.random() < 0.08:
        number = "a pair of"
    return _noun_phrase(subject, noun, size, number)


def _say_what_color(subject: Subject) -> str:
    """ "a cat that is blue"; nothing where there is more to say, or less."""
    if not subject.color or subject.size or subject.count > 1:
        return ""
    thing = thing_of(subject)
    verb = "are" if "plural" in thing.flags else "is"
    return f"{_with_article(thing, thing.name)} that {verb} {subject.color}"


def _noun_phrase(subject: Subject, noun: str, size: str = "", number: str = "") -> str:
    thing = thing_of(subject)
    words = [size or subject.size, subject.color, noun if subject.count == 1 else plural_of(noun)]
    phrase = " ".join(filter(None, words))
    if subject.count > 1:
        return f"{number or NUMBERS[subject.count - 1]} {phrase}"
    return _with_article(thing, phrase)


def _with_article(thing: Thing, phrase: str) -> str:
    return f"{article_for(phrase)} {phrase}" if thing.can_be_counted else phrase


def _with_ground(text: str, ground: str, rng: random.Random) -> str:
    if ground == WHITE and rng.random() >= WHITE_SHARE:
        return text
    if ground == WHITE or ground in COLOR_NAMES:
        where = rng.choice(COLOR_GROUND).format(c=ground)
        return f"{text}, {where}" if where == f"{ground} background" else f"{text} {where}"
    return f"{text} {rng.choice(PLACE_WORDS[ground])}"


def _carelessly(text: str, rng: random.Random) -> str:
    """The same typed in a hurry: one or two of the things that hurry does."""
    for way in rng.sample((_without_articles, _shouted, _ended, _unpunctuated, _mistyped, _in_british), k=2):
        text = way(text, rng)
    return text


def _without_articles(text: str, rng: random.Random) -> str:
    return re.sub(r"\b(an?|the) (?!pair)", "", text)


def _shouted(text: str, rng: random.Random) -> str:
    return rng.choice((text.capitalize(), text.capitalize(), text.title(), text.upper()))


def _ended(text: str, rng: random.Random) -> str:
    return text + rng.choice((".", "!", " ", " please"))


def _unpunctuated(text: str, rng: random.Random) -> str:
    return text.replace(",", "")


def _mistyped(text: str, rng: random.Random) -> str:
    """One letter of a long word is missing or has changed places; colours and numbers stay readable."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 5 and word.isalpha() and word.lower() not in COLOR_NAMES]
    if long:
        i = rng.choice(long)
        word, at = words[i], rng.randrange(2, len(words[i]) - 1)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        words[i] = rng.choice((word[:at] + word[at + 1 :], swapped))
    return " ".join(words)


def _in_british(text: str, rng: random.Random) -> str:
    return re.sub(r"\bgray\b", "grey", text)
