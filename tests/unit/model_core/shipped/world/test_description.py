"""Boxes, and what training never sees."""

from itertools import product

import pytest

from model_core.shipped.world.description import (
    EVERY,
    Box,
    Description,
    Subject,
    around,
    held_out_kinds,
    is_held_out,
)
from model_core.shipped.world.vocabulary import COLOR_NAMES, GROUNDS, all_things

NAMES = sorted(all_things())


def test_a_box_knows_its_size_and_middle():
    box = Box(left=2, top=4, right=12, bottom=10)
    assert (box.width, box.height, box.center) == (10, 6, (7, 7))


def test_a_moved_box_keeps_its_size():
    assert Box(left=2, top=4, right=12, bottom=10).moved(3, -4) == Box(left=5, top=0, right=15, bottom=6)


def test_the_box_around_boxes_is_as_small_as_can_be():
    boxes = (Box(left=2, top=4, right=12, bottom=10), Box(left=5, top=1, right=9, bottom=20))
    assert around(boxes) == Box(left=2, top=1, right=12, bottom=20)


def pair(one: str, relation: str, other: str) -> Description:
    return Description(subjects=(Subject(name=one), Subject(name=other)), relation=relation, style="flat")


def test_about_one_in_so_many_is_held_out():
    words = [is_held_out("color", *words) for words in product(NAMES, COLOR_NAMES)]
    assert sum(words) / len(words) == pytest.approx(1 / EVERY, rel=0.2)


def test_the_rule_does_not_change():
    held_out = [color for color in COLOR_NAMES if is_held_out("color", "cat", color)]
    assert held_out == ["green"]


@pytest.mark.parametrize(("relation", "reverse"), [("left of", "right of"), ("above", "below"), ("next to", "next to")])
def test_one_arrangement_told_from_either_side_is_one_combination(relation: str, reverse: str):
    for one, other in zip(NAMES, NAMES[1:] + NAMES[:1], strict=True):
        assert held_out_kinds(pair(one, relation, other)) == held_out_kinds(pair(other, reverse, one))


def test_a_pair_is_held_out_in_every_relation():
    one, other = next(words for words in product(NAMES, NAMES) if words[0] < words[1] and is_held_out("pair", *words))
    for relation in ("next to", "above", "inside", "on top of"):
        assert "pair" in held_out_kinds(pair(one, relation, other))
        assert "pair" in held_out_kinds(pair(other, relation, one))


def test_every_subject_counts_for_colour_and_ground():
    name, color = next(words for words in product(NAMES, COLOR_NAMES) if is_held_out("color", *words))
    other, ground = next(words for words in product(NAMES, GROUNDS[1:]) if is_held_out("ground", *words))
    subjects = (Subject(name=name, color=color), Subject(name=other))
    kinds = held_out_kinds(Description(subjects=subjects, relation="above", ground=ground, style="flat"))
    assert {"color", "ground"} <= set(kinds)


def test_a_single_thing_in_its_own_colours_on_white_is_never_held_out():
    for name, count in product(NAMES, (1, 2, 4)):
        assert held_out_kinds(Description(subjects=(Subject(name=name, count=count),), style="flat")) == ()
