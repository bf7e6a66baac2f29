"""Things that the tests draw themselves: a few SVGs of plain shapes, so that results can be computed by hand."""

from functools import cache

from model_core.shipped.world.sprites import Drawing, Sprites, make_sprites
from model_core.shipped.world.vocabulary import STYLES, Thing


def _square(left: float, top: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="{fill}"/>'


def _disc(x: float, y: float, radius: float, fill: str) -> str:
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{fill}"/>'


BODIES = {
    "cat": _disc(16, 16, 12, "#e8a33d") + _disc(12, 12, 2, "#212121"),
    "dog": _square(4, 8, 24, 16, "#8d6e63"),
    "tree": _square(10, 2, 12, 20, "#2e9e4f") + _square(14, 22, 4, 8, "#795548"),
    "elephant": _square(4, 6, 24, 20, "#9b9b9b"),
    "pizza": '<path d="M2 4h28L16 30z" fill="#ffb300"/>',
    "bread": _square(2, 10, 28, 12, "#d7a86e"),
    "glasses": _square(2, 12, 12, 8, "#3f51b5") + _square(18, 12, 12, 8, "#3f51b5"),
    "alarm clock": _disc(16, 16, 13, "#d32f2f"),
}
FLAGS = {"pizza": ("own",), "bread": ("mass",), "glasses": ("plural",), "alarm clock": ("signs",)}
SHAPE = (32.0, 32.0)


def things() -> tuple[Thing, ...]:
    return tuple(Thing(hexcode=f"{place:x}", name=name, flags=FLAGS.get(name, ())) for place, name in enumerate(BODIES))


def drawings() -> dict[tuple[str, str], Drawing]:
    return {(name, style): (body, SHAPE) for name, body in BODIES.items() for style in STYLES}


@cache
def sprites() -> Sprites:
    return make_sprites(things(), drawings())
