"""Where things go: boxes for one thing, several of a kind, or two in a relation, with chance in place and size.

Pure geometry, in pixels; knows the proportions of the drawings and nothing else of them.
"""

import random
from collections.abc import Sequence

from model_core.shipped.world.description import BESIDE, INSIDE, STACKED, Box, Description, Subject, around
from model_core.shipped.world.grounds import SIDE, inside_of

MARGIN = 3  # pixels that stay free at every edge
ROOM = SIDE - 2 * MARGIN
ALONE = {"": (66, 112), "small": (34, 46), "large": (112, ROOM)}  # pixels of the longer side
IN_PAIR = {"": (1.0, 66), "small": (0.6, 36), "large": (1.4, 84)}  # share of the room in proportion to it; most pixels
AMONG = {"": (0.82, 0.96), "small": (0.5, 0.62), "large": (0.96, 1.0)}  # of the cell in a group
RESTING = {"": (42, 52), "small": (28, 34), "large": (56, 66)}  # pixels, of what is on something
BEARING = {"": (62, 78), "small": (44, 52), "large": (80, 92)}  # of that something
BEFORE = {"": (40, 52), "small": (30, 36), "large": (56, 62)}  # of what is in front of something
BEHIND = {"": (74, 94), "small": (56, 64), "large": (98, 108)}  # of that something
FRAMES = {"": (84, 112), "small": (58, 70), "large": (116, ROOM)}
FRAMED = {"": (0.76, 0.92), "small": (0.48, 0.58), "large": (0.92, 0.98)}  # of the canvas
HIDDEN = 0.4  # at most so much of the box behind is behind
STANDING = 6  # pixels below the horizon that the lowest thing reaches at least
ROWS = {1: ((1,),), 2: ((2,), (2,), (1, 1)), 3: ((1, 2), (2, 1), (3,)), 4: ((2, 2),)}

Boxes = tuple[Box, ...]


def arrange(
    description: Description,
    aspects: Sequence[Sequence[float]],
    rng: random.Random,
    *,
    landing: float = 0.0,
    horizon: int = 0,
) -> tuple[Boxes, ...]:
    """Boxes for every drawing of every subject; all lie inside the picture, with a margin.

    Args:
      aspects: width through height of each drawing; that of a frame is not asked.
      landing: how far down in the second thing something on top of it comes to rest, as a share of its height.
      horizon: the row that the lowest drawing has to reach.
    """
    first = description.subjects[0]
    if len(description.subjects) == 1:
        groups = (_alone(first, aspects[0], rng),)
    else:
        second, relation = description.subjects[1], description.relation
        if relation in (*BESIDE, *STACKED):
            groups = _apart(first, second, relation, aspects, rng)
        elif relation == "on top of":
            groups = _on_top(first, second, aspects, rng, landing)
        elif relation == INSIDE:
            groups = _framed(first, second, aspects, rng)
        else:
            groups = _in_front(first, second, aspects, rng)
    return _somewhere(groups, rng, horizon)


def _somewhere(groups: tuple[Boxes, ...], rng: random.Random, horizon: int) -> tuple[Boxes, ...]:
    """The whole arrangement moved to where it is all visible, and its lowest box reaches the horizon."""
    whole = around(tuple(box for group in groups for box in group))
    free_across, free_down = ROOM - whole.width, ROOM - whole.height
    left = MARGIN + round(free_across * (rng.random() + rng.random()) / 2)
    top = MARGIN + round(free_down * (rng.random() + rng.random()) / 2)
    if horizon:
        top = max(top, min(horizon + STANDING - whole.height, MARGIN + free_down))
    return tuple(tuple(box.moved(left - whole.left, top - whole.top) for box in group) for group in groups)


def _sized(width: float, height: float, aspect: float) -> tuple[int, int]:
    """The largest width and height of this aspect inside of a space."""
    scale = min(width / aspect, height)
    return max(1, round(scale * aspect)), max(1, round(scale))


def _box(center: tuple[float, float], size: tuple[int, int]) -> Box:
    left, top = round(center[0] - size[0] / 2), round(center[1] - size[1] / 2)
    return Box(left=left, top=top, right=left + size[0], bottom=top + size[1])


def _alone(subject: Subject, aspects: Sequence[float], rng: random.Random) -> Boxes:
    if subject.count > 1:
        return _group(subject, aspects, (ROOM, ROOM), rng)
    side = rng.uniform(*ALONE[subject.size])
    return (_box((0, 0), _sized(side, side, aspects[0])),)


def _group(subject: Subject, aspects: Sequence[float], room: tuple[float, float], rng: random.Random) -> Boxes:
    """Rows of cells with a drawing in each, around (0, 0)."""
    rows = rng.choice(ROWS[subject.count])
    scale = rng.uniform(*AMONG[subject.size])
    cell_height = room[1] / len(rows)
    side = min(room[0] / max(rows), cell_height) if subject.count > 1 else max(room)
    boxes = []
    for number, columns in enumerate(rows):
        cell_width = room[0] / columns
        row_shift = rng.uniform(-0.35, 0.35) * max(0.0, cell_height - side)
        for column in range(columns):
            most = scale * rng.uniform(0.94, 1.0)
            size = _sized(most * min(side, cell_width), most * min(side, cell_height), aspects[len(boxes)])
            across = (column + 0.5) * cell_width - room[0] / 2
            down = (number + 0.5) * cell_height - room[1] / 2 + row_shift
            free = (cell_width - size[0]) / 2, (min(cell_height, 1.2 * side) - size[1]) / 2
            shift = [rng.uniform(-0.8, 0.8) * max(0.0, each - 1) for each in free]
            boxes.append(_box((across + shift[0], down + shift[1]), size))
    return tuple(boxes)


def _apart(
    first: Subject, second: Subject, relation: str, aspects: Sequence[Sequence[float]], rng: random.Random
) -> tuple[Boxes, ...]:
    """Side by side, or one above the other, with a gap."""
    shares = [IN_PAIR[each.size][0] * (1.5 if each.count > 1 else 1.0) for each in (first, second)]
    most = [IN_PAIR[each.size][1] * (1.5 if each.count > 1 else 1.0) for each in (first, second)]
    sides = [min(ROOM * share / sum(shares) - 1, limit) for share, limit in zip(shares, most, strict=True)]
    gap = rng.uniform(2, max(3.0, min(20.0, ROOM - sum(sides))))
    slide = rng.uniform(-0.5, 0.5) * 0.4 * min(sides)
    is_upright = relation in STACKED
    groups = []
    for subject, side, own in zip((first, second), sides, aspects, strict=True):
        room = (min(1.25 * side, ROOM), side) if is_upright else (side, min(1.25 * side, ROOM))
        calm = Subject(name=subject.name, count=subject.count)  # its size is in `side` already
        groups.append(_group(calm, own, room, rng))
    is_second_first = relation in ("right of", "below") or (relation == "next to" and rng.random() < 0.5)
    one, other = (around(group) for group in (reversed(groups) if is_second_first else groups))
    if is_upright:
        move = (round(slide), round(one.bottom + gap) - other.top)
    else:
        move = (round(one.right + gap) - other.left, round(slide))
    moved = 0 if is_second_first else 1
    groups[moved] = tuple(box.moved(*move) for box in groups[moved])
    return _shrunk(tuple(groups))


def _shrunk(groups: tuple[Boxes, ...]) -> tuple[Boxes, ...]:
    """The same, smaller where that is needed for the room there is."""
    whole = around(tuple(box for group in groups for box in group))
    scale = min(1.0, (ROOM - 1) / max(whole.width, whole.height))
    if scale == 1.0:
        return groups
    return tuple(tuple(_scaled(box, scale) for box in group) for group in groups)


def _scaled(box: Box, scale: float) -> Box:
    width, height = max(1, int(box.width * scale)), max(1, int(box.height * scale))
    left, top = round(box.left * scale), round(box.top * scale)
    return Box(left=left, top=top, right=left + width, bottom=top + height)


def _on_top(
    first: Subject, second: Subject, aspects: Sequence[Sequence[float]], rng: random.Random, landing: float
) -> tuple[Boxes, ...]:
    upper, lower = rng.uniform(*RESTING[first.size]), rng.uniform(*BEARING[second.size])
    base = _box((0, 0), _sized(lower, lower, aspects[1][0]))
    size = _sized(upper, upper, aspects[0][0])
    bottom = base.top + landing * base.height + 2
    top = _box((rng.uniform(-0.08, 0.08) * base.width, bottom - size[1] / 2), size)
    return _shrunk(((top,), (base,)))


def _in_front(
    first: Subject, second: Subject, aspects: Sequence[Sequence[float]], rng: random.Random
) -> tuple[Boxes, ...]:
    """The first lower, smaller by nature, to one side, and over the other."""
    near, far = rng.uniform(*BEFORE[first.size]), rng.uniform(*BEHIND[second.size])
    back = _box((0, 0), _sized(far, far, aspects[1][0]))
    size = _sized(near, near, aspects[0][0])
    side = rng.choice((-1, 1))
    down = back.bottom + rng.uniform(4, 10) - size[1] / 2
    across = rng.uniform(0.1, 0.35) * back.width
    front = _box((side * across, down), size)
    while _hidden(front, back) > HIDDEN:
        across += 2
        front = _box((side * across, down), size)
    return _shrunk(((front,), (back,)))


def _hidden(front: Box, back: Box) -> float:
    """The share of `back` that is behind `front`."""
    across = min(front.right, back.right) - max(front.left, back.left)
    down = min(front.bottom, back.bottom) - max(front.top, back.top)
    return max(0, across) * max(0, down) / (back.width * back.height)


def _framed(
    first: Subject, second: Subject, aspects: Sequence[Sequence[float]], rng: random.Random
) -> tuple[Boxes, ...]:
    long = rng.uniform(*FRAMES[second.size])
    short = long * rng.uniform(0.78, 1.0)
    size = (round(long), round(short)) if aspects[0][0] > 1 else (round(short), round(long))
    frame = _box((0, 0), size)
    canvas = inside_of(frame)
    share = rng.uniform(*FRAMED[first.size])
    thing = _sized(share * canvas.width, share * canvas.height, aspects[0][0])
    free = (canvas.width - thing[0]) / 2 - 1, (canvas.height - thing[1]) / 2 - 1
    return ((_box((rng.uniform(-0.4, 0.4) * free[0], rng.uniform(-0.4, 0.4) * free[1]), thing),), (frame,))
