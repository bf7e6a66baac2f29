"""Scenes that differ from another one in a single thing: what a CLIP has to learn to tell apart.

Knows descriptions only.
"""

import random
from dataclasses import replace

from model_core.shipped.world.description import FRAME, WHITE, Description, Subject
from model_core.shipped.world.scenes import World
from model_core.shipped.world.vocabulary import COLOR_NAMES, GROUNDS, THE_FRAME, Thing

ATTEMPTS = 40
ONE_WAY = ("left of", "right of", "above", "below", "in front of", "on top of")


def near_misses(world: World, description: Description, count: int, rng: random.Random) -> list[Description]:
    """So many different descriptions, or fewer, each with one thing changed, that `world` may show.

    The change is another colour, colours or places exchanged, another number, another thing, or another ground.
    """
    found: list[Description] = []
    for _ in range(ATTEMPTS):
        changed = rng.choice((_recolored, _exchanged, _recounted, _replaced, _elsewhere))(world, description, rng)
        if changed is not None and changed not in (description, *found) and world.may_show(changed):
            found.append(changed)
        if len(found) == count:
            break
    return found


def _recolored(world: World, description: Description, rng: random.Random) -> Description | None:
    """One thing in another colour, or the colours of the two exchanged."""
    subjects = list(description.subjects)
    if len(subjects) == 2 and subjects[0].color != subjects[1].color and rng.random() < 0.5:
        both = [(subjects[0], subjects[1].color), (subjects[1], subjects[0].color)]
        if not all(_can_have(world, subject, color) for subject, color in both):
            return None
        return _with(description, *(replace(subject, color=color) for subject, color in both))
    which = rng.randrange(len(subjects))
    color = rng.choice(COLOR_NAMES)
    if not subjects[which].color or not _can_have(world, subjects[which], color):
        return None
    subjects[which] = replace(subjects[which], color=color)
    return _with(description, *subjects)


def _exchanged(_world: World, description: Description, _rng: random.Random) -> Description | None:
    """The two things in each other's place."""
    if description.relation not in ONE_WAY:
        return None
    first, second = description.subjects
    if max(first.count, second.count) > 1 and description.relation in ("in front of", "on top of"):
        return None
    return _with(description, second, first)


def _recounted(world: World, description: Description, rng: random.Random) -> Description | None:
    """More or fewer of a single thing's kind."""
    subject = description.subjects[0]
    if len(description.subjects) > 1 or not _thing(world, subject).can_be_counted:
        return None
    return _with(description, replace(subject, count=rng.choice([n for n in (1, 2, 3, 4) if n != subject.count])))


def _replaced(world: World, description: Description, rng: random.Random) -> Description | None:
    """Another thing, in the same colour and number."""
    subjects = list(description.subjects)
    which = rng.randrange(len(subjects))
    thing, before = rng.choice(world.things), subjects[which]
    if before.name == FRAME or thing.name in (each.name for each in subjects):
        return None
    if (before.color and not thing.can_be_colored) or (before.count > 1 and not thing.can_be_counted):
        return None
    subjects[which] = replace(before, name=thing.name)
    return _with(description, *subjects)


def _elsewhere(_world: World, description: Description, rng: random.Random) -> Description | None:
    """Another ground, if one was said."""
    if description.ground == WHITE:
        return None
    return replace(description, ground=rng.choice([ground for ground in GROUNDS if ground != WHITE]))


def _with(description: Description, *subjects: Subject) -> Description:
    return replace(description, subjects=tuple(subjects))


def _thing(world: World, subject: Subject) -> Thing:
    return THE_FRAME if subject.name == FRAME else next(each for each in world.things if each.name == subject.name)


def _can_have(world: World, subject: Subject, color: str) -> bool:
    return not color or _thing(world, subject).can_be_colored
