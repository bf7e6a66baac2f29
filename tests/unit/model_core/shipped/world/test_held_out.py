"""What training never sees."""

from itertools import product

import pytest

from model_core.shipped.world.description import Description, Subject
from model_core.shipped.world.held_out import EVERY, held_out_kinds, is_held_out
from model_core.shipped.world.vocabulary import COLOR_NAMES, GROUNDS, all_things

NAMES = sorted(all_things())


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
