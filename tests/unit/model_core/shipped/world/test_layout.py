"""Boxes are where descriptions say, whatever the proportions of the drawings."""

import random
from itertools import pairwise, product

import pytest

from model_core.shipped.world.description import FRAME, RELATIONS, SIZES, Box, Description, Subject, around
from model_core.shipped.world.grounds import SIDE, inside_of
from model_core.shipped.world.layout import CELL, HIDDEN, MARGIN, SIDES, arrange

SEEDS = range(40)


def placed(description: Description, seed: int, **more: float) -> tuple[tuple[Box, ...], ...]:
    rng = random.Random(seed)
    aspects = [[rng.uniform(0.35, 2.5) for _ in range(each.count)] for each in description.subjects]
    return arrange(description, aspects, rng, **more)  # pyright: ignore[reportArgumentType]


def alone(**subject: object) -> Description:
    return Description(subjects=(Subject(name="cat", **subject),), style="flat")  # pyright: ignore[reportArgumentType]


def pair(relation: str, one: Subject | None = None, other: Subject | None = None) -> Description:
    second = Subject(name="frame" if relation == "inside" else "dog")
    return Description(subjects=(one or Subject(name="cat"), other or second), relation=relation, style="flat")


def overlap(one: Box, other: Box) -> int:
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    return max(0, across) * max(0, down)


EVERYTHING = [
    *(alone(count=count, size=size) for count, size in product((1, 2, 3, 4), ("", *SIZES))),
    *(
        pair(relation, Subject(name="cat", size=a), Subject(name="frame" if relation == "inside" else "dog", size=b))
        for relation, a, b in product(RELATIONS, ("", *SIZES), ("", *SIZES))
    ),
    *(pair(relation, Subject(name="cat", count=2)) for relation in ("next to", "left of", "above")),
    *(pair(relation, other=Subject(name="dog", count=2)) for relation in ("next to", "right of", "below")),
]


@pytest.mark.parametrize("description", EVERYTHING, ids=str)
def test_all_boxes_lie_inside_and_are_as_many_as_said(description: Description):
    for seed in range(12):
        groups = placed(description, seed)
        assert [len(group) for group in groups] == [each.count for each in description.subjects]
        for box in (box for group in groups for box in group):
            assert min(box.width, box.height) >= 4
            assert min(box.left, box.top) >= 0
            assert max(box.right, box.bottom) <= SIDE


@pytest.mark.parametrize("description", EVERYTHING, ids=str)
def test_a_thing_begins_on_the_grid_of_codes_and_has_one_of_a_few_sizes(description: Description):
    for seed in range(12):
        for subject, group in zip(description.subjects, placed(description, seed), strict=True):
            for box in group:
                assert box.left % CELL == box.top % CELL == 0
                if subject.name == FRAME:
                    assert box.width % CELL == box.height % CELL == 0
                else:
                    assert max(box.width, box.height) in SIDES


def test_where_there_is_room_a_margin_stays_free():
    for seed in SEEDS:
        ((box,),) = placed(alone(), seed)
        assert min(box.left, box.top) >= MARGIN and max(box.right, box.bottom) <= SIDE - MARGIN


def test_several_of_a_kind_do_not_overlap_and_are_about_equal():
    for seed in SEEDS:
        for count in (2, 3, 4):
            (group,) = placed(alone(count=count), seed)
            assert not any(overlap(one, other) for i, one in enumerate(group) for other in group[:i])


@pytest.mark.parametrize("counts", [(1, 1), (2, 1), (1, 2)])
def test_left_right_above_and_below_are_so(counts: tuple[int, int]):
    for seed in SEEDS:
        subjects = [Subject(name=name, count=count) for name, count in zip(("cat", "dog"), counts, strict=True)]
        for relation in ("left of", "right of", "above", "below"):
            one, other = (around(group) for group in placed(pair(relation, *subjects), seed))
            assert not overlap(one, other)
            across, down = (a - b for a, b in zip(one.center, other.center, strict=True))
            expected = {"left of": across < 0, "right of": across > 0, "above": down < 0, "below": down > 0}
            assert expected[relation]
            assert (abs(across) > abs(down)) == (relation in ("left of", "right of"))


def test_next_to_is_on_either_side_and_level():
    sides = set()
    for seed in SEEDS:
        (one,), (other,) = placed(pair("next to"), seed)
        assert not overlap(one, other)
        assert abs(one.center[1] - other.center[1]) < abs(one.center[0] - other.center[0])
        sides.add(one.left < other.left)
    assert sides == {True, False}


def test_on_top_of_touches_from_above():
    for seed in SEEDS:
        for landing in (0.0, 0.4):
            (one,), (other,) = placed(pair("on top of"), seed, landing=landing)
            assert one.center[1] < other.center[1]
            assert other.left < one.center[0] < other.right
            assert 0 <= one.bottom - (other.top + landing * other.height) < CELL


def test_in_front_of_covers_a_part_and_stands_lower():
    for seed in SEEDS:
        (one,), (other,) = placed(pair("in front of"), seed)
        assert 0 < overlap(one, other) <= (HIDDEN + 0.03) * other.width * other.height
        assert one.bottom > other.bottom


def test_inside_is_within_the_canvas_of_the_frame():
    for seed in SEEDS:
        for size in ("", *SIZES):
            (one,), (frame,) = placed(pair("inside", Subject(name="cat", size=size)), seed)
            canvas = inside_of(frame)
            assert overlap(one, canvas) == one.width * one.height


def test_sizes_differ():
    longest = {}
    for size in ("small", "", "large"):
        boxes = [placed(alone(size=size), seed)[0][0] for seed in SEEDS]
        longest[size] = [max(box.width, box.height) for box in boxes]
    for smaller, larger in pairwise(longest.values()):
        assert max(smaller) < min(larger) + 2


def test_a_small_thing_is_smaller_than_a_large_one_beside_it():
    for seed, relation in product(SEEDS, ("next to", "left of", "above", "on top of")):
        description = pair(relation, Subject(name="cat", size="small"), Subject(name="dog", size="large"))
        (one,), (other,) = placed(description, seed)
        assert max(one.width, one.height) < max(other.width, other.height)


def test_things_stand_below_the_horizon():
    for seed in SEEDS:
        (box,) = placed(alone(size="small"), seed, horizon=70)[0]
        assert box.bottom > 70


def test_places_vary():
    corners = {(box.left, box.top) for seed in SEEDS for box in placed(alone(size="small"), seed)[0]}
    assert len(corners) > 20
