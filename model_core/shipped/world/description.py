"""What a scene shows, in words and numbers: the truth that captions tell and measurements are held against.

Which combinations training never sees is a rule, not a list, so that it holds for any number of scenes: a combination
is held out if a hash of its words says so, one in `EVERY`. The words alone decide: no seed, no style.
"""

import zlib
from dataclasses import dataclass

WHITE = "white"  # the ground that nobody mentions
FRAME = "frame"  # the thing that is drawn around another one
INSIDE = "inside"
BESIDE = ("next to", "left of", "right of")
STACKED = ("above", "below")
TOUCHING = ("in front of", "on top of", INSIDE)
RELATIONS = (*BESIDE, *STACKED, *TOUCHING)
SIZES = ("small", "large")
EVERY = 8
KINDS = ("color", "pair", "relation", "ground")
_SEEN_FROM_THE_OTHER = {"right of": "left of", "below": "above"}  # one arrangement, told from either thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A thing, or several of one kind.

    Attributes:
      name: what it is called in the list of things.
      color: one of the ten named colours; empty for its own.
      size: "small" or "large", as against what is usual; empty where nothing is said.
      count: how many there are, 1…4.
    """

    name: str
    color: str = ""
    size: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a scene shows.

    Attributes:
      subjects: one or two.
      relation: where the first is, seen from the second; empty for one subject.
      ground: what is behind: "white", a colour or a place.
      style: who drew the things.
    """

    subjects: tuple[Subject, ...]
    relation: str = ""
    ground: str = WHITE
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where one drawing is, in pixels from the top left; the right and bottom edges are just outside of it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def center(self) -> tuple[float, float]:
        """Across, down."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def moved(self, across: int, down: int) -> "Box":
        """The same box elsewhere."""
        return Box(left=self.left + across, top=self.top + down, right=self.right + across, bottom=self.bottom + down)


def around(boxes: tuple[Box, ...]) -> Box:
    """The smallest box with all of these in it."""
    return Box(
        left=min(box.left for box in boxes),
        top=min(box.top for box in boxes),
        right=max(box.right for box in boxes),
        bottom=max(box.bottom for box in boxes),
    )


def held_out_kinds(description: Description) -> tuple[str, ...]:
    """The kinds of held-out combinations in a scene, in the order of `KINDS`; nothing for one that may be trained on.

    "color": (thing, colour). "pair": two things, whichever comes first. "relation": (thing, relation, thing); left and
    right, above and below are one relation told from either side, and that of "next to" has no sides. "ground":
    (thing, ground), for every ground but white.
    """
    found = {kind for kind, words in _combinations(description) if is_held_out(kind, *words)}
    return tuple(kind for kind in KINDS if kind in found)


def is_held_out(kind: str, *words: str) -> bool:
    """Whether one combination is held out; the words in the order of `held_out_kinds`, those of a pair sorted."""
    return zlib.crc32("|".join((kind, *words)).encode()) % EVERY == 0


def _combinations(description: Description) -> list[tuple[str, tuple[str, ...]]]:
    subjects = description.subjects
    found: list[tuple[str, tuple[str, ...]]] = [("color", (each.name, each.color)) for each in subjects if each.color]
    if description.ground != WHITE:
        found += [("ground", (each.name, description.ground)) for each in subjects]
    if len(subjects) == 2:
        first, second = (each.name for each in subjects)
        low, high = sorted((first, second))
        found.append(("pair", (low, high)))
        if description.relation in _SEEN_FROM_THE_OTHER:
            found.append(("relation", (second, _SEEN_FROM_THE_OTHER[description.relation], first)))
        elif description.relation == "next to":
            found.append(("relation", (low, "next to", high)))
        else:
            found.append(("relation", (first, description.relation, second)))
    return found
