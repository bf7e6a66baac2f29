"""Boxes."""

from model_core.shipped.world.description import Box, around


def test_a_box_knows_its_size_and_middle():
    box = Box(left=2, top=4, right=12, bottom=10)
    assert (box.width, box.height, box.center) == (10, 6, (7, 7))


def test_a_moved_box_keeps_its_size():
    assert Box(left=2, top=4, right=12, bottom=10).moved(3, -4) == Box(left=5, top=0, right=15, bottom=6)


def test_the_box_around_boxes_is_as_small_as_can_be():
    boxes = (Box(left=2, top=4, right=12, bottom=10), Box(left=5, top=1, right=9, bottom=20))
    assert around(boxes) == Box(left=2, top=1, right=12, bottom=20)
