"""Where things go: boxes for one thing, several of a kind, or two in a relation, with chance in place and size.

Pure geometry, in pixels; knows the proportions of the drawings and nothing else of them. Every box begins on the grid
of the image codes, and its longer side is one of a few: so a drawing is spelled by the same codes wherever it stands.
Half a code further they would all be others, and what draws would have to learn it again for every shift and size.
"""

import random
from collections.abc import Callable, Sequence

from model_core.shipped.world.description import BESIDE, INSIDE, STACKED, Box, Description, Subject, around
from model_core.shipped.world.grounds import CELL, SIDE, inside_of

SIDES = (24, 32, 40, 56, 80, 112)  # pixels of a thing's longer side
NEARLY = 1.03  # a side may be larger by so much than its room
MARGIN = 3  # pixels that stay free at every edge where there is room for it
# Pixels of the longer side, of which the next smaller of `SIDES` is taken. Most things have 56 of them wherever they
# are: what draws has learned a thing in one scene, and knows it in all the others.
ALONE = {"": (56, 86), "small": (32, 42), "large": (80, 116)}
IN_PAIR = {"": (1.0, 60), "small": (0.6, 42), "large": (1.4, 84)}  # share of the room in proportion to it; most pixels
AMONG = {"": (0.9, 1.0), "small": (0.5, 0.7), "large": (0.96, 1.0)}  # share of the place in a group
RESTING = {"": (56, 60), "small": (32, 42), "large": (56, 60)}  # of what is on something
BEARING = {"": (56, 68), "small": (40, 42), "large": (80, 84)}  # of that something
BEFORE = {"": (40, 58), "small": (32, 38), "large": (56, 62)}  # of what is in front of something
BEHIND = {"": (74, 94), "small": (56, 64), "large": (112, 112)}  # of that something
FRAMES = {"": (84, 112), "small": (58, 70), "large": (112, 122)}
FRAMED = {"": (0.76, 0.92), "small": (0.48, 0.6), "large": (0.92, 0.98)}  # share of the canvas
HIDDEN = 0.4  # at most so much of the box behind is behind
STANDING = 6  # pixels below the horizon that the lowest thing reaches at least
ROWS = {1: ((1,),), 2: ((2,), (2,), (1, 1)), 3: ((1, 2), (2, 1)), 4: ((2, 2),)}
SCALES = (1.0, 0.88, 0.76, 0.64, 0.52)  # tried one after the other, until there is room

Boxes = tuple[Box, ...]


def arrange(
    description: Description,
    aspects: Sequence[Sequence[float]],
    rng: random.Random,
    *,
    landing: float = 0.0,
    horizon: int = 0,
) -> tuple[Boxes, ...]:
    """Boxes for every drawing of every subject; all lie inside the picture.

    Args:
      aspects: width through height of each drawing; that of a frame is not asked.
      landing: how far down in the second thing something on top of it comes to rest, as a share of its height.
      horizon: the row that the lowest drawing has to reach.
    """
    make = _maker(description, aspects, rng, landing)
    groups = next(
        groups for scale in SCALES if max((whole := _whole(groups := make(scale))).width, whole.height) <= SIDE
    )
    return _somewhere(groups, rng, horizon)


def _maker(
    description: Description, aspects: Sequence[Sequence[float]], rng: random.Random, landing: float
) -> Callable[[float], tuple[Boxes, ...]]:
    """What places everything, smaller by a scale."""
    subjects, relation = description.subjects, description.relation
    if len(subjects) == 1:
        return lambda scale: (_alone(subjects[0], aspects[0], rng, scale),)
    first, second = subjects
    if relation in (*BESIDE, *STACKED):
        return lambda scale: _apart(first, second, relation, aspects, rng, scale)
    if relation == "on top of":
        return lambda scale: _on_top(first, second, aspects, rng, landing, scale)
    if relation == INSIDE:
        return lambda scale: _framed(first, second, aspects, rng, scale)
    return lambda scale: _in_front(first, second, aspects, rng, scale)


def _whole(groups: tuple[Boxes, ...]) -> Box:
    return around(tuple(box for group in groups for box in group))


def _somewhere(groups: tuple[Boxes, ...], rng: random.Random, horizon: int) -> tuple[Boxes, ...]:
    """The whole arrangement moved to where it is all visible, and its lowest box reaches the horizon."""
    whole = _whole(groups)
    left = _place(whole.width, rng)
    top = _place(whole.height, rng)
    if horizon:
        top = max(top, min(_up(horizon + STANDING - whole.height), _down(SIDE - whole.height)))
    return tuple(tuple(box.moved(left - whole.left, top - whole.top) for box in group) for group in groups)


def _place(length: int, rng: random.Random) -> int:
    """Where something so long begins, more often near the middle."""
    first, last = _up(MARGIN), _down(SIDE - MARGIN - length)
    if last < first:
        first, last = 0, _down(SIDE - length)
    return first + _near((last - first) * (rng.random() + rng.random()) / 2)


def _near(pixels: float) -> int:
    return CELL * round(pixels / CELL)


def _up(pixels: float) -> int:
    return -_down(-pixels)


def _down(pixels: float) -> int:
    return CELL * int(pixels // CELL)


def _sized(width: float, height: float, aspect: float) -> tuple[int, int]:
    """The largest width and height of this aspect inside of a space whose longer side is one of `SIDES`."""
    room = min(width / aspect, height) * max(aspect, 1.0)
    longer = max((side for side in SIDES if side <= NEARLY * room), default=SIDES[0])
    return max(1, round(longer * min(aspect, 1.0))), max(1, round(longer * min(1 / aspect, 1.0)))


def _at(left: int, top: int, size: tuple[int, int]) -> Box:
    return Box(left=left, top=top, right=left + size[0], bottom=top + size[1])


def _alone(subject: Subject, aspects: Sequence[float], rng: random.Random, scale: float) -> Boxes:
    if subject.count > 1:
        return _group(subject, aspects, (SIDE, SIDE), rng, scale)
    side = rng.uniform(*ALONE[subject.size]) * scale
    return (_at(0, 0, _sized(side, side, aspects[0])),)


def _group(
    subject: Subject, aspects: Sequence[float], room: tuple[float, float], rng: random.Random, scale: float
) -> Boxes:
    """Rows of places with a drawing in each, from (0, 0) on."""
    rows = rng.choice(ROWS[subject.count])
    share = scale * rng.uniform(*AMONG[subject.size])
    height = _down(room[1] / len(rows))
    boxes = []
    for number, columns in enumerate(rows):
        width = _down(room[0] / columns)
        short = min(width, height) if subject.count > 1 else max(width, height)
        for column in range(columns):
            size = _sized(share * min(short, width), share * min(short, height), aspects[len(boxes)])
            free = max(0, width - size[0]), max(0, min(height, 1.2 * short) - size[1])
            left, top = (_down(rng.random() * (each + 1)) for each in free)
            boxes.append(_at(column * width + left, number * height + top, size))
    return tuple(boxes)


def _apart(
    first: Subject,
    second: Subject,
    relation: str,
    aspects: Sequence[Sequence[float]],
    rng: random.Random,
    scale: float,
) -> tuple[Boxes, ...]:
    """Side by side, or one above the other, with a gap."""
    shares = [IN_PAIR[each.size][0] * (1.5 if each.count > 1 else 1.0) for each in (first, second)]
    most = [IN_PAIR[each.size][1] * (1.5 if each.count > 1 else 1.0) for each in (first, second)]
    sides = [scale * min((SIDE - CELL) * share / sum(shares), limit) for share, limit in zip(shares, most, strict=True)]
    slide = rng.uniform(-0.5, 0.5) * 0.4 * min(sides)
    is_upright = relation in STACKED
    groups = []
    for subject, side, own in zip((first, second), sides, aspects, strict=True):
        room = (min(1.25 * side, SIDE), side) if is_upright else (side, min(1.25 * side, SIDE))
        calm = Subject(name=subject.name, count=subject.count)  # its size is in `side` already
        groups.append(_group(calm, own, room, rng, 1.0))
    is_second_first = relation in ("right of", "below") or (relation == "next to" and rng.random() < 0.5)
    one, other = (around(group) for group in (reversed(groups) if is_second_first else groups))
    used = one.height + other.height if is_upright else one.width + other.width
    gap = rng.uniform(2, max(2.0, min(16.0, SIDE - CELL - used)))
    if is_upright:
        across = one.center[0] - other.center[0] + slide
        move = _near(across), _up(one.bottom + gap - other.top)
    else:
        down = one.center[1] - other.center[1] + slide
        move = _up(one.right + gap - other.left), _near(down)
    moved = 0 if is_second_first else 1
    groups[moved] = tuple(box.moved(*move) for box in groups[moved])
    return tuple(groups)


def _on_top(
    first: Subject,
    second: Subject,
    aspects: Sequence[Sequence[float]],
    rng: random.Random,
    landing: float,
    scale: float,
) -> tuple[Boxes, ...]:
    upper, lower = scale * rng.uniform(*RESTING[first.size]), scale * rng.uniform(*BEARING[second.size])
    base = _at(0, 0, _sized(lower, lower, aspects[1][0]))
    size = _sized(upper, upper, aspects[0][0])
    left = (0.5 + rng.uniform(-0.08, 0.08)) * base.width - size[0] / 2
    return ((_at(_near(left), _up(landing * base.height - size[1]), size),), (base,))


def _in_front(
    first: Subject, second: Subject, aspects: Sequence[Sequence[float]], rng: random.Random, scale: float
) -> tuple[Boxes, ...]:
    """The first lower, smaller by nature, to one side, and over the other."""
    near, far = scale * rng.uniform(*BEFORE[first.size]), scale * rng.uniform(*BEHIND[second.size])
    back = _at(0, 0, _sized(far, far, aspects[1][0]))
    size = _sized(near, near, aspects[0][0])
    side = rng.choice((-1, 1))
    top = _up(back.bottom + 2 - size[1])
    across = rng.uniform(0.1, 0.35) * back.width
    front = _at(_near(back.width / 2 + side * across - size[0] / 2), top, size)
    while _hidden(front, back) > HIDDEN:
        front = front.moved(side * CELL, 0)
    return ((front,), (back,))


def _hidden(front: Box, back: Box) -> float:
    """The share of `back` that is behind `front`."""
    across = min(front.right, back.right) - max(front.left, back.left)
    down = min(front.bottom, back.bottom) - max(front.top, back.top)
    return max(0, across) * max(0, down) / (back.width * back.height)


def _framed(
    first: Subject, second: Subject, aspects: Sequence[Sequence[float]], rng: random.Random, scale: float
) -> tuple[Boxes, ...]:
    long = scale * rng.uniform(*FRAMES[second.size])
    short = long * rng.uniform(0.78, 1.0)
    size = (_down(long), _down(short)) if aspects[0][0] > 1 else (_down(short), _down(long))
    frame = _at(0, 0, size)
    canvas = inside_of(frame)
    share = rng.uniform(*FRAMED[first.size])
    room = [min(share * each, (each - CELL + 1) / NEARLY) for each in (canvas.width, canvas.height)]
    thing = _sized(room[0], room[1], aspects[0][0])
    first_places = _up(canvas.left), _up(canvas.top)
    last_places = _down(canvas.right - thing[0]), _down(canvas.bottom - thing[1])
    left, top = (
        low + _near((high - low) * rng.uniform(0.3, 0.7)) for low, high in zip(first_places, last_places, strict=True)
    )
    return ((_at(left, top, thing),), (frame,))
