"""(seed, index) → a scene: picture, caption, and what it shows. Endless, and the same every time.

A scene is described first, in words; then captioned, arranged and drawn, each with chance of its own, so that captions
can be made again without drawing. Training and evaluation see different scenes: see `description.py`.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from model_core.errors import InvalidValue
from model_core.shipped.world.art import cut_out
from model_core.shipped.world.captions import caption_of, thing_of
from model_core.shipped.world.description import (
    FRAME,
    INSIDE,
    KINDS,
    RELATIONS,
    SIZES,
    TOUCHING,
    WHITE,
    Box,
    Description,
    Subject,
    held_out_kinds,
)
from model_core.shipped.world.grounds import draw_frame, draw_ground
from model_core.shipped.world.layout import arrange
from model_core.shipped.world.sprites import Sprites
from model_core.shipped.world.vocabulary import COLOR_NAMES, PLACES, Thing

PAIR_SHARE = 0.42  # of the scenes have two things
COUNT_SHARE = 0.3  # of the others have several of one thing
ALONE_COLORED, PAIR_COLORED = 0.55, 0.4  # share of the things that are turned to a colour
SIZED = 0.18  # share of the things of which a size is said
TWO_IN_PAIR = 0.1  # share of the pairs apart in which one thing is there twice
GROUNDS = {WHITE: 0.46, "color": 0.26, "place": 0.28}
RELATION_WEIGHTS = dict.fromkeys(RELATIONS, 1.0) | {"next to": 2.5, "in front of": 0.7, "on top of": 0.8}
LEAN, LEANING_SHARE = 15.0, 0.03  # degrees, to either side, of so many things; the others stand straight
MIRRORED_SHARE = 0.1
DEEPEST = 0.3  # of its height: nothing comes to rest further down in something
ATTEMPTS = 10_000  # evaluation scenes are one of several; this many tries find none only where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture, how a person might ask for it, what it shows, and where: boxes of every drawing of every subject."""

    pixels: UInt8[np.ndarray, "128 128 3"]
    caption: str
    description: Description
    boxes: tuple[tuple[Box, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All scenes of a seed.

    Attributes:
      sprites: what scenes are made of.
      held_out: False gives scenes to train on, without any held-out combination; True those with at least one.
      in_last_style: share of the scenes in the last style for certain; the others are in any: most of what is drawn
        should be what is learned best.
      kinds: where held out, at least one combination is of these kinds, and none of the others.
    """

    sprites: Sprites
    seed: int = 0
    held_out: bool = False
    kinds: tuple[str, ...] = KINDS
    in_last_style: float = 0.4
    things: tuple[Thing, ...] = field(init=False)
    styles: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if unknown := set(self.kinds) - set(KINDS):
            raise InvalidValue(f"kinds are {', '.join(KINDS)}; got {', '.join(sorted(unknown))}.", "kinds")
        object.__setattr__(self, "things", self.sprites.things)
        object.__setattr__(self, "styles", self.sprites.styles)

    def describe(self, index: int) -> Description:
        """What scene `index` shows."""
        rng = self._chance("description", index)
        for _ in range(ATTEMPTS):
            description = self._imagine(rng)
            if self.may_show(description):
                return description
        raise InvalidValue(f"no scene with {', '.join(self.kinds)} held out: there are too few things.", "kinds")

    def captions(self, index: int, count: int = 1) -> list[str]:
        """So many captions of scene `index`; the first is the one that `scene` gives."""
        rng, description = self._chance("caption", index), self.describe(index)
        return [caption_of(description, rng) for _ in range(count)]

    def scene(self, index: int) -> Scene:
        """Scene number `index`."""
        description = self.describe(index)
        pixels, boxes = draw_scene(description, self.sprites, self._chance("drawing", index))
        caption = caption_of(description, self._chance("caption", index))
        return Scene(pixels=pixels, caption=caption, description=description, boxes=boxes)

    def scenes(self, first: int, last: int) -> Iterator[Scene]:
        """Scenes `first`, …, `last` - 1."""
        return (self.scene(index) for index in range(first, last))

    def may_show(self, description: Description) -> bool:
        """Whether a scene may be among these: held out or not, and everything in it visible."""
        return self._is_allowed(description) and self._is_visible(description)

    def _chance(self, purpose: str, index: int) -> random.Random:
        return random.Random(f"{purpose} {self.seed} {index}")

    def _is_allowed(self, description: Description) -> bool:
        kinds = held_out_kinds(description)
        return bool(kinds) and not set(kinds) - set(self.kinds) if self.held_out else not kinds

    def _is_visible(self, description: Description) -> bool:
        ground, style = description.ground, description.style
        colors = [subject.color for subject in description.subjects]
        framed, touching = description.relation == INSIDE, description.relation in TOUCHING
        if ground in colors or (touching and colors[0] == colors[1] != ""):
            return False
        return framed or all(
            self.sprites.is_seen(each.name, style, each.color, ground) for each in description.subjects
        )

    def _imagine(self, rng: random.Random) -> Description:
        style = self.styles[-1] if rng.random() < self.in_last_style else rng.choice(self.styles)
        kind = rng.choices(list(GROUNDS), list(GROUNDS.values()))[0]
        ground = {WHITE: WHITE, "color": rng.choice(COLOR_NAMES), "place": rng.choice(PLACES)}[kind]
        if rng.random() >= PAIR_SHARE:
            subject = self._subject(rng.choice(self.things), rng, ALONE_COLORED, can_be_many=True)
            return Description(subjects=(subject,), ground=ground, style=style)
        relation = rng.choices(list(RELATION_WEIGHTS), list(RELATION_WEIGHTS.values()))[0]
        one, other = rng.sample(self.things, 2)
        subjects = [self._subject(each, rng, PAIR_COLORED) for each in (one, other)]
        if relation == INSIDE:
            subjects[1] = Subject(name=FRAME, color=rng.choice(("", rng.choice(COLOR_NAMES))))
        elif relation not in TOUCHING and rng.random() < TWO_IN_PAIR:
            which = rng.randrange(2)
            if (one, other)[which].can_be_counted:
                before = subjects[which]
                subjects[which] = Subject(name=before.name, color=before.color, count=2)
        return Description(subjects=tuple(subjects), relation=relation, ground=ground, style=style)

    def _subject(self, thing: Thing, rng: random.Random, colored: float, can_be_many: bool = False) -> Subject:
        color = rng.choice(COLOR_NAMES) if thing.can_be_colored and rng.random() < colored else ""
        size = rng.choice(SIZES) if rng.random() < SIZED else ""
        is_many = can_be_many and thing.can_be_counted and rng.random() < COUNT_SHARE
        count = rng.choice((2, 2, 3, 3, 4)) if is_many else 1
        return Subject(name=thing.name, color=color, size=size if count < 3 else "", count=count)


def draw_scene(
    description: Description, sprites: Sprites, rng: random.Random
) -> tuple[UInt8[np.ndarray, "128 128 3"], tuple[tuple[Box, ...], ...]]:
    """Draws what a description says; chance decides on place, size, lean and mirror. Gives the boxes as well."""
    picture, horizon = draw_ground(description.ground, rng)
    drawings = [_pose(subject, description.style, sprites, rng) for subject in description.subjects]
    aspects = [[each.width / each.height for each in group] or [1.0] for group in drawings]
    landing = _landing(drawings[1][0]) if description.relation == "on top of" else 0.0
    boxes = arrange(description, aspects, rng, landing=landing, horizon=horizon)
    painted = list(zip(description.subjects, drawings, boxes, strict=True))
    for subject, group, places in reversed(painted):  # what is in front, on top or inside comes first in words
        if subject.name == FRAME:
            draw_frame(picture, places[0], subject.color, rng)
        for drawing, box in zip(group, places, strict=False):
            sized = drawing.resize((box.width, box.height), Image.Resampling.LANCZOS)
            picture.paste(sized, (box.left, box.top), sized)
    return np.asarray(picture), boxes


def _pose(subject: Subject, style: str, sprites: Sprites, rng: random.Random) -> list[Image.Image]:
    """A drawing for each one of a subject, mirrored and leaning by chance; none for the frame."""
    if subject.name == FRAME:
        return []
    drawing = sprites.draw(subject.name, style, subject.color)
    if thing_of(subject).can_be_mirrored and rng.random() < MIRRORED_SHARE:
        drawing = ImageOps.mirror(drawing)
    if rng.random() >= LEANING_SHARE:
        return [drawing] * subject.count
    return [_leaning(drawing, rng.choice((-LEAN, LEAN))) for _ in range(subject.count)]


def _leaning(drawing: Image.Image, degrees: float) -> Image.Image:
    return cut_out(drawing.rotate(degrees, Image.Resampling.BICUBIC, expand=True))


def _landing(drawing: Image.Image) -> float:
    """Where something comes to rest on a drawing: its highest point near the middle, as a share of its height."""
    alpha = np.asarray(drawing.getchannel("A"))
    middle = alpha[:, round(0.3 * drawing.width) : round(0.7 * drawing.width) + 1]
    highest = float(np.flatnonzero((middle > 128).any(axis=1))[0]) / drawing.height
    return min(highest, DEEPEST)
