"""The things, colours and places of the world, and their forms: "an owl", "two mice", "french fries".

`things.txt` holds the things. Knows nothing of pictures or sentences.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from model_core.errors import InvalidValue
from model_core.shipped.scenes import COLORS
from model_core.shipped.world.description import FRAME, WHITE

THINGS = Path(__file__).with_name("things.txt")
FLAGS = ("own", "mass", "plural", "signs")
STYLES = ("flat", "twemoji")
COLOR_NAMES = tuple(COLORS)
PLACES = ("sky", "night sky", "grass", "beach", "water", "snow", "desert", "room")
GROUNDS = (WHITE, *COLOR_NAMES, *PLACES)
NUMBERS = ("one", "two", "three", "four")
_IRREGULAR = {
    "cactus": "cacti",
    "deer": "deer",
    "fish": "fish",
    "jellyfish": "jellyfish",
    "leaf": "leaves",
    "mouse": "mice",
    "sheep": "sheep",
    "snowman": "snowmen",
    "tomato": "tomatoes",
    "volcano": "volcanoes",
    "wolf": "wolves",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something that can be in a scene.

    Attributes:
      hexcode: its code point(s); empty for the frame, which no set has.
      synonyms: other words for it.
      flags: "own": it keeps its own colours. "mass", "plural": it has no article and is not counted. "signs": letters,
        digits or hands are on it, which a mirror image would show the wrong way round.
    """

    hexcode: str
    name: str
    synonyms: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def can_be_colored(self) -> bool:
        return "own" not in self.flags

    @property
    def can_be_counted(self) -> bool:
        return not {"mass", "plural"} & set(self.flags)

    @property
    def can_be_mirrored(self) -> bool:
        return "signs" not in self.flags


THE_FRAME = Thing(hexcode="", name=FRAME, synonyms=("picture frame",))


def read_things(path: Path = THINGS) -> tuple[Thing, ...]:
    """Reads a list of things: hexcode, name, synonyms, flags on each line, separated by tabs.

    Raises:
      InvalidValue: a line is not so, or two things share a hexcode, a name or a synonym.
    """
    things, owner = [], {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        hexcode, name, synonyms, flags = [*line.split("\t"), "", "", ""][:4]
        if not re.fullmatch(r"[0-9a-f]+(-[0-9a-f]+)*", hexcode) or not name or set(flags.split()) - set(FLAGS):
            raise InvalidValue(f"{path.name}, line {number}: expected hexcode, name, synonyms, flags; got {line!r}.")
        words = tuple(word.strip() for word in synonyms.split(",") if word.strip())
        for key in (hexcode, name, *words):
            if owner.setdefault(key, number) != number:
                raise InvalidValue(f"{path.name}, line {number}: {key!r} is already in line {owner[key]}.")
        things.append(Thing(hexcode=hexcode, name=name, synonyms=words, flags=tuple(flags.split())))
    return tuple(things)


@cache
def all_things() -> dict[str, Thing]:
    """The things of the world by name, without the frame."""
    return {thing.name: thing for thing in read_things()}


@cache
def plural_of(words: str) -> str:
    """More than one of it: "cats", "cherries", "slices of pizza"."""
    head, of, rest = words.partition(" of ")
    start, _, last = head.rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif re.search("[^aeiou]y$", last):
        last = last[:-1] + "ies"
    elif re.search("(s|x|z|ch|sh)$", last):
        last += "es"
    else:
        last += "s"
    return f"{start} {last}".strip() + of + rest


def article_for(words: str) -> str:
    """ "a" or "an"."""
    return "an" if re.match("[aeio]|u(?!ni|fo)|hour", words) else "a"
