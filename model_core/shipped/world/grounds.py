"""What is behind the things: one colour, or a simple place drawn with a little chance.

Knows nothing of things or captions.
"""

import random
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from model_core.shipped.scenes import COLORS, WHITE
from model_core.shipped.world.description import Box

SIDE = 128  # pixels, of every scene
CELL = 8  # pixels of an image code
FINE = 2  # places are drawn so many times as large, then reduced, for smooth edges
_SIDE = SIDE * FINE
SKY = ("#8fd0f5", "#a5daf7", "#7cc4f0")
WOOD, CANVAS = "#b0783c", ("#ffffff", "#fff6e0", "#e8f1fb")
FRAME_WIDTH = 0.09  # of the frame's shorter side


def draw_ground(ground: str, rng: random.Random) -> tuple[Image.Image, int]:
    """Draws a ground by its name as RGB, and says from which row down things can stand on it (0: anywhere)."""
    if ground not in _PLACES:
        return Image.new("RGB", (SIDE, SIDE), flat_color(ground)), 0
    picture = Image.new("RGB", (_SIDE, _SIDE))
    horizon = _PLACES[ground](ImageDraw.Draw(picture), rng)
    return picture.reduce(FINE), horizon // FINE


def flat_color(ground: str) -> str:
    """The colour of a ground of one colour, as "#rrggbb"."""
    return WHITE if ground == "white" else COLORS[ground]


def draw_frame(picture: Image.Image, box: Box, color: str, rng: random.Random) -> None:
    """Draws a picture frame over `picture`, with an empty canvas in it; of wood where no colour is named."""
    draw = ImageDraw.Draw(picture)
    main = COLORS[color] if color else WOOD
    inner = inside_of(box)
    draw.rectangle(_corners(box), fill=main)
    for edge, shade in ((box, 0.72), (_grown(inner, 1), 0.72), (_grown(box, -2), 1.18)):
        draw.rectangle(_corners(edge), outline=_shaded(main, shade))
    draw.rectangle(_corners(inner), fill=rng.choice(CANVAS))


def inside_of(frame: Box) -> Box:
    """Where the canvas of a frame is."""
    return _grown(frame, -max(5, round(FRAME_WIDTH * min(frame.width, frame.height))))


def _grown(box: Box, by: int) -> Box:
    return Box(left=box.left - by, top=box.top - by, right=box.right + by, bottom=box.bottom + by)


def _corners(box: Box) -> tuple[int, int, int, int]:
    return box.left, box.top, box.right - 1, box.bottom - 1  # Pillow's right and bottom edges belong to a rectangle


def _shaded(color: str, share: float) -> tuple[int, ...]:
    parts: UInt8[np.ndarray, " 3"] = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    return tuple(np.clip(parts * share, 0, 255).astype(int).tolist())


def _fill(draw: ImageDraw.ImageDraw, color: str, top: float = 0, bottom: float = _SIDE) -> None:
    draw.rectangle((0, round(top), _SIDE, round(bottom)), fill=color)


def _level(rng: random.Random, low: float, high: float) -> int:
    """A height between two shares, on the edge of a row of codes, so that one edge is spelled alike everywhere."""
    row = CELL * FINE
    return row * round(rng.uniform(low, high) * _SIDE / row)


def _hill(draw: ImageDraw.ImageDraw, rng: random.Random, color: str, top: float) -> None:
    """A round rise whose highest point is at `top`, somewhere across; the rest of the picture below it is filled."""
    middle, width, height = rng.uniform(0, _SIDE), rng.uniform(1.2, 2.2) * _SIDE, rng.uniform(0.5, 0.9) * _SIDE
    draw.ellipse((middle - width / 2, top, middle + width / 2, top + height), fill=color)


def _cloud(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    x, y, size = rng.uniform(0, _SIDE), rng.uniform(0.05, 0.85) * _SIDE, rng.uniform(0.05, 0.09) * _SIDE
    for across, up, scale in ((-1.3, 0, 0.8), (0, 0.5, 1.1), (1.3, 0, 0.9), (0, -0.2, 0.8)):
        center, radius = (x + across * size, y - up * size), scale * size
        draw.ellipse((center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius), fill="#ffffff")


def _dots(draw: ImageDraw.ImageDraw, rng: random.Random, color: str, count: int, bottom: float) -> None:
    for _ in range(count):
        x, y, radius = rng.uniform(0, _SIDE), rng.uniform(0, bottom), rng.uniform(1.5, 3.5)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _sky(draw: ImageDraw.ImageDraw, rng: random.Random) -> int:
    _fill(draw, rng.choice(SKY))
    for _ in range(rng.randint(2, 4)):
        _cloud(draw, rng)
    return 0


def _night_sky(draw: ImageDraw.ImageDraw, rng: random.Random) -> int:
    _fill(draw, rng.choice(("#16204a", "#1b2457", "#10193c")))
    _dots(draw, rng, "#fff4c2", rng.randint(14, 30), _SIDE)
    return 0


def _grass(draw: ImageDraw.ImageDraw, rng: random.Random) -> int:
    horizon = _level(rng, 0.42, 0.62)
    _fill(draw, rng.choice(SKY))
    if rng.random() < 0.6:
        _hill(draw, rng, "#8bcf6b", horizon - rng.uniform(0.05, 0.12) * _SIDE)
    _fill(draw, "#6dbb4a", horizon)
    for _ in range(rng.randint(8, 16)):
        x, y = rng.uniform(0, _SIDE), rng.uniform(horizon + 12, _SIDE)
        draw.line((x - 5, y - 9, x, y, x + 5, y - 9), fill="#4f9a35", width=3)
    return horizon


def _beach(draw: ImageDraw.ImageDraw, rng: random.Random) -> int:
    shore = _level(rng, 0.55, 0.68)
    _fill(draw, rng.choice(SKY))
    _fill(draw, "#2f93cf", shore - _level(rng, 0.18, 0.3))
    _fill(draw, "#f2d9a0", shore)
    for x in range(-20, _SIDE, 40):
        draw.ellipse((x, shore - 8, x + 44, shore + 8), fill="#f7fbff")
    draw.rectangle((0, shore + 4, _SIDE, shore + 9), fill="#e3c383")
    return shore


def _water(draw: ImageDraw.ImageDraw, rng: random.Random) -> int:
    surface = _level(rng, 0.08, 0.3)
    _fill(draw, rng.choice(SKY))
    _fill(draw, "#2f86d0", surface)
    for x in range(0, _SIDE, 32):
        draw.chord((x, surface - 8, x + 32, surface + 10), 180, 360, fill="#2f86d0")
    for _ in range(rng.randint(7, 13)):
        x, y, width = rng.uniform(-20, _SIDE), rng.uniform(surface + 16, _SIDE), rng.uniform(20, 44)
        draw.arc((x, y, x + width, y + 12), 200, 340, fill="#8cc8f2", width=4)
    return surface


def _snow(draw: ImageDraw.ImageDraw, rng: random.Random) -> int:
    horizon = _level(rng, 0.42, 0.62)
    _fill(draw, rng.choice(("#9dbfdd", "#8fb3d6", "#a9c6e2")))
    _hill(draw, rng, "#dfeaf5", horizon - rng.uniform(0.06, 0.14) * _SIDE)
    _fill(draw, "#f5f9fd", horizon)
    _dots(draw, rng, "#ffffff", rng.randint(16, 32), horizon)
    return horizon


def _desert(draw: ImageDraw.ImageDraw, rng: random.Random) -> int:
    horizon = _level(rng, 0.42, 0.62)
    _fill(draw, rng.choice(("#fbe6bd", "#fcd9a5", "#a5daf7")))
    _hill(draw, rng, "#d99a4e", horizon - rng.uniform(0.08, 0.16) * _SIDE)
    _fill(draw, "#e8b36b", horizon)
    _hill(draw, rng, "#dfa456", horizon + rng.uniform(0.1, 0.25) * _SIDE)
    return horizon


def _room(draw: ImageDraw.ImageDraw, rng: random.Random) -> int:
    floor = _level(rng, 0.58, 0.72)
    _fill(draw, rng.choice(("#f3e3cf", "#d9e6dc", "#e5dcef", "#dbe7f3")))
    if rng.random() < 0.7:
        x, y, size = _level(rng, 0.06, 0.64), _level(rng, 0.06, 0.14), _level(rng, 0.24, 0.3)
        draw.rectangle((x - 5, y - 5, x + size + 5, y + size + 5), fill="#ffffff")
        draw.rectangle((x, y, x + size, y + size), fill="#9fd4f5")
        draw.rectangle((x + size / 2 - 2, y, x + size / 2 + 2, y + size), fill="#ffffff")
        draw.rectangle((x, y + size / 2 - 2, x + size, y + size / 2 + 2), fill="#ffffff")
    _fill(draw, "#a8744a", floor)
    _fill(draw, "#ffffff", floor - 10, floor)
    for x in range(-_SIDE // 2, _SIDE * 3 // 2, 48):
        draw.line((x, _SIDE, _SIDE / 2 + (x - _SIDE / 2) * 0.6, floor), fill="#8f5f39", width=2)
    return floor


_PLACES: dict[str, Callable[[ImageDraw.ImageDraw, random.Random], int]] = {
    "sky": _sky,
    "night sky": _night_sky,
    "grass": _grass,
    "beach": _beach,
    "water": _water,
    "snow": _snow,
    "desert": _desert,
    "room": _room,
}
