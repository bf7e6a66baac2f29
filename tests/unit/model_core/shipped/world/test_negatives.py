"""Near misses: one thing changed, never to what is held out."""

import random
from dataclasses import replace
from itertools import permutations

from model_core.shipped.world.description import Description, Subject, held_out_kinds
from model_core.shipped.world.negatives import near_misses
from model_core.shipped.world.scenes import World
from tests.unit.model_core.shipped.world.things_made_here import sprites

WORLD = World(sprites=sprites())


def changes(one: Description, other: Description) -> set[str]:
    """The names of what differs."""
    found = {name for name in ("relation", "ground", "style") if getattr(one, name) != getattr(other, name)}
    for a, b in zip(one.subjects, other.subjects, strict=True):
        found |= {name for name in ("name", "color", "size", "count") if getattr(a, name) != getattr(b, name)}
    return found


def test_most_scenes_have_several_and_all_may_be_trained_on():
    counts = []
    for index in range(100):
        found = near_misses(WORLD, WORLD.describe(index), 3, random.Random(index))
        counts.append(len(found))
        assert len(set(found)) == len(found)
        assert not any(held_out_kinds(each) for each in found)
    assert sum(count == 3 for count in counts) > 80


def test_one_thing_is_changed():
    for index in range(200):
        before = WORLD.describe(index)
        for after in near_misses(WORLD, before, 3, random.Random(index)):
            swapped = before.subjects == after.subjects[::-1]
            assert swapped or len(changes(before, after)) == 1


def pairs(relation: str, colors: tuple[str, str] = ("", "")) -> list[Description]:
    """Two things in a relation; some may be trained on, some not."""
    found = []
    for one, other in permutations(("cat", "dog", "tree", "elephant"), 2):
        subjects = (Subject(name=one, color=colors[0]), Subject(name=other, color=colors[1]))
        found.append(Description(subjects=subjects, relation=relation, style="flat"))
    return found


def test_relations_are_turned_round():
    for pair in pairs("above"):
        turned = replace(pair, subjects=pair.subjects[::-1])
        found = [each for seed in range(20) for each in near_misses(WORLD, pair, 3, random.Random(seed))]
        assert (turned in found) == WORLD.may_show(turned)


def test_colours_are_exchanged():
    for pair in pairs("next to", ("red", "blue")):
        one, other = pair.subjects
        exchanged = replace(pair, subjects=(replace(one, color="blue"), replace(other, color="red")))
        found = [each for seed in range(20) for each in near_misses(WORLD, pair, 3, random.Random(seed))]
        assert (exchanged in found) == WORLD.may_show(exchanged)
