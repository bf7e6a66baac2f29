"""Scenes: the same every time, without what is held out, and showing what they say."""

import random
from itertools import product

import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.shipped.world.color import nearest_name, to_lab
from model_core.shipped.world.description import INSIDE, KINDS, TOUCHING, Description, Subject, held_out_kinds
from model_core.shipped.world.grounds import SIDE
from model_core.shipped.world.scenes import World, draw_scene
from model_core.shipped.world.vocabulary import COLOR_NAMES
from tests.unit.model_core.shipped.world.things_made_here import sprites


def world(**settings: object) -> World:
    return World(sprites=sprites(), **settings)  # pyright: ignore[reportArgumentType]


def test_same_seed_and_index_same_scene():
    one, other = (world(seed=3).scene(17) for _ in range(2))
    assert (one.caption, one.description, one.boxes) == (other.caption, other.description, other.boxes)
    np.testing.assert_array_equal(one.pixels, other.pixels)


def test_another_seed_or_index_is_another_scene():
    pixels = [world(seed=seed).scene(index).pixels for seed, index in ((3, 17), (3, 18), (4, 17))]
    assert all((a != b).any() for a, b in ((pixels[0], pixels[1]), (pixels[0], pixels[2])))


def test_a_scene_is_a_picture_of_bytes():
    pixels = world().scene(0).pixels
    assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8)


def test_training_never_sees_what_is_held_out():
    assert not any(held_out_kinds(world(seed=1).describe(index)) for index in range(2000))


def test_more_scenes_are_in_the_last_style_where_that_is_asked():
    for share, expected in ((0.0, 0.5), (0.4, 0.7), (1.0, 1.0)):
        styles = [world(in_last_style=share).describe(index).style for index in range(1000)]
        assert styles.count(sprites().styles[-1]) / 1000 == pytest.approx(expected, abs=0.06)


def test_evaluation_sees_nothing_else():
    assert all(held_out_kinds(world(seed=1, held_out=True).describe(index)) for index in range(300))


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_of_one_kind_holds_nothing_else_back(kind: str):
    found = {held_out_kinds(world(held_out=True, kinds=(kind,)).describe(index)) for index in range(100)}
    assert found == {(kind,)}


def test_unknown_kinds_are_refused():
    with pytest.raises(InvalidValue, match="color, pair"):
        world(kinds=("smell",))


def test_captions_are_those_of_the_scene_and_more():
    captions = world().captions(5, 6)
    assert captions[0] == world().scene(5).caption
    assert len(set(captions)) > 1


def test_things_that_are_not_counted_or_coloured_never_are():
    for index in range(2000):
        for subject in world(seed=2).describe(index).subjects:
            assert subject.count == 1 or subject.name not in ("bread", "glasses")
            assert not subject.color or subject.name != "pizza"


def test_boxes_lie_inside_and_are_as_many_as_the_caption_says():
    for scene in world(seed=5).scenes(0, 60):
        assert [len(group) for group in scene.boxes] == [each.count for each in scene.description.subjects]
        for box in (box for group in scene.boxes for box in group):
            assert 0 <= box.left < box.right <= SIDE
            assert 0 <= box.top < box.bottom <= SIDE


def test_things_never_have_the_colour_of_the_ground():
    for index in range(1000):
        description = world(seed=6).describe(index)
        assert description.ground not in {subject.color for subject in description.subjects}


def test_things_that_touch_never_have_one_colour():
    for index in range(1000):
        description = world(seed=6).describe(index)
        if description.relation in TOUCHING:
            one, other = (subject.color for subject in description.subjects)
            assert not one or one != other


@pytest.mark.parametrize("color", COLOR_NAMES)
def test_what_is_drawn_has_the_named_colour(color: str):
    description = Description(subjects=(Subject(name="dog", color=color),), style="flat")
    pixels, ((box,),) = draw_scene(description, sprites(), random.Random(1))
    middle = pixels[(box.top + box.bottom) // 2, (box.left + box.right) // 2]
    assert nearest_name(to_lab(middle / 255)) == color


def test_everything_drawn_is_in_a_box_and_every_box_has_something():
    description = Description(subjects=(Subject(name="dog", count=3),), style="flat")
    for seed in range(20):
        pixels, (boxes,) = draw_scene(description, sprites(), random.Random(seed))
        drawn = (pixels != 255).any(-1)
        inside = np.zeros_like(drawn)
        for box in boxes:
            assert drawn[box.top : box.bottom, box.left : box.right].mean() > 0.4
            inside[box.top : box.bottom, box.left : box.right] = True
        assert not (drawn & ~inside).any()


def test_the_first_thing_is_in_front():
    one, other = Subject(name="dog", color="red"), Subject(name="elephant", color="blue")
    for seed, relation in product(range(10), ("in front of", "on top of")):
        description = Description(subjects=(one, other), relation=relation, style="flat")
        pixels, ((box,), _) = draw_scene(description, sprites(), random.Random(seed))
        middle = pixels[(box.top + box.bottom) // 2, (box.left + box.right) // 2]
        assert nearest_name(to_lab(middle / 255)) == "red"


def test_a_thing_is_in_its_frame():
    subjects = (Subject(name="dog", color="red"), Subject(name="frame", color="green"))
    description = Description(subjects=subjects, relation=INSIDE, ground="blue", style="flat")
    pixels, (_, (frame,)) = draw_scene(description, sprites(), random.Random(3))
    row = (frame.top + frame.bottom) // 2
    across = [nearest_name(to_lab(pixels[row, column] / 255)) for column in (1, frame.left + 3, 64)]
    assert across[:2] == ["blue", "green"]


def test_signs_are_never_mirrored_and_other_things_are():
    for name, ways in (("alarm clock", 1), ("cat", 2)):
        description = Description(subjects=(Subject(name=name),), style="flat")
        drawn = set()
        for seed in range(60):
            pixels, ((box,),) = draw_scene(description, sprites(), random.Random(seed))
            dark = np.argwhere(pixels.max(-1) < 90)
            drawn.add(bool(len(dark)) and bool(dark[:, 1].mean() > (box.left + box.right) / 2))
        assert len(drawn) == ways


def test_all_kinds_of_scenes_come():
    described = [world(seed=7).describe(index) for index in range(3000)]
    relations = {each.relation for each in described}
    counts = {subject.count for each in described for subject in each.subjects}
    grounds = {each.ground for each in described}
    assert len(relations) == 9  # eight and none
    assert counts == {1, 2, 3, 4}
    assert len(grounds) == 19
