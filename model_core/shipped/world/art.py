"""Drawings of single things as sprites, in their own colours or turned to a named one.

A drawing is turned to a colour in its SVG: the fills of its main colour get the hue and chroma of the named one and
keep their differences in lightness; all other parts stay. Knows nothing of scenes or captions.
"""

import re
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from model_core.shipped.picture_sets import rasterise
from model_core.shipped.world.color import NAMED, as_hex, chroma_of, hue_distance, hue_of, parse_hex, to_lab, to_rgb

SPRITE = 128  # pixels, longer side of a sprite
FINE = 2  # sprites are drawn so many times as large first, so that cropping costs no sharpness
FAINT = 9  # of 255; less opacity is nothing
PROBE = 64  # pixels, side of the drawing in which areas of fills are measured
COLORED = 0.04  # chroma from which a fill has a hue
SAME_HUE = 50.0  # degrees, within which fills belong together
SAME_LIGHTNESS = 0.2  # the same for fills without hue
DARK = 0.32  # lightness below which a fill is outline or eye, and stays
SHARE = 0.25  # of the drawing, from which its most common hue counts as its main colour, whatever is grey or white
_FILL = re.compile(r'((?:fill|stroke|stop-color)=")(#[0-9a-fA-F]{3,6})(")')


def recolor(body: str, shape: tuple[float, float], color: str) -> tuple[str, float]:
    """The inside of an SVG with its main fills turned to a named colour, and the share of the drawing that they cover.

    Args:
      body: SVG elements with fills written as attributes.
      shape: width and height of the drawing, in its own units.
      color: one of the ten names.
    """
    areas = fill_areas(body, shape)
    main = main_fills(areas)
    total = sum(areas[fill] for fill in main)
    if not total:
        return body, 0.0
    labs = {fill: to_lab(parse_hex(fill)) for fill in main}
    middle = sum(areas[fill] * labs[fill][0] for fill in main) / total
    turned = {fill: as_hex(to_rgb(_turn(lab, middle, color))) for fill, lab in labs.items()}
    replaced = _FILL.sub(lambda found: found[1] + turned.get(found[2].lower(), found[2]) + found[3], body)
    return replaced, total / sum(areas.values())


def _turn(lab: Float[np.ndarray, " 3"], middle: float, color: str) -> Float[np.ndarray, " 3"]:
    """A fill in the hue of a named colour, as much lighter or darker than it as it was than the others."""
    target = NAMED[color]
    return np.array([target[0] + np.clip(0.8 * (lab[0] - middle), -0.2, 0.15), target[1], target[2]])


def fill_areas(body: str, shape: tuple[float, float]) -> dict[str, float]:
    """The share of the picture that each fill of an SVG shows, by its code in lower case."""
    fills = sorted({found[2].lower() for found in _FILL.finditer(body)})
    if not fills:
        return {}
    rgba = np.asarray(rasterise(body, shape, PROBE, margin=0, border=0), np.float64)
    shown = rgba[rgba[..., 3] > 200][:, :3] / 255
    table = np.array([parse_hex(fill) for fill in fills])
    distances = ((shown[:, None] - table) ** 2).sum(-1)
    counts = np.bincount(distances.argmin(1)[distances.min(1) < 0.01], minlength=len(fills))
    return dict(zip(fills, (counts / PROBE**2).tolist(), strict=True))


def main_fills(areas: dict[str, float]) -> list[str]:
    """The fills that make up the main colour: the commonest hue, or the commonest grey where no hue is common."""
    labs = {fill: to_lab(parse_hex(fill)) for fill, area in areas.items() if area}
    light = {fill: lab for fill, lab in labs.items() if lab[0] >= DARK or chroma_of(lab) >= 2 * COLORED}
    colored = {fill: lab for fill, lab in light.items() if chroma_of(lab) >= COLORED}
    plain = {fill: lab for fill, lab in light.items() if fill not in colored}

    def area(fills: list[str]) -> float:
        return sum(areas[fill] for fill in fills)

    by_hue = [[b for b in colored if hue_distance(hue_of(colored[a]), hue_of(colored[b])) <= SAME_HUE] for a in colored]
    by_gray = [[b for b in plain if abs(plain[a][0] - plain[b][0]) <= SAME_LIGHTNESS] for a in plain]
    best_hue, best_gray = max(by_hue, key=area, default=[]), max(by_gray, key=area, default=[])
    if area(best_hue) >= SHARE * area(list(areas)):
        return best_hue
    return max(best_hue, best_gray, key=area)


def draw_sprite(body: str, shape: tuple[float, float]) -> Image.Image:
    """Draws the inside of an SVG and cuts it out: RGBA, its longer side `SPRITE` pixels."""
    picture = rasterise(body, shape, SPRITE * FINE, margin=0, border=0)
    picture = cut_out(picture)
    scale = SPRITE / max(picture.size)
    return picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)


def cut_out(picture: Image.Image) -> Image.Image:
    """An RGBA picture without the empty edges around what is visible."""
    return picture.crop(picture.getchannel("A").point([0] * FAINT + [255] * (256 - FAINT)).getbbox())


def shape_of(icon: dict[str, Any], icons: dict[str, Any]) -> tuple[float, float]:
    """Width and height of one icon of a collection: its own, or the collection's, or 16 by Iconify's rule."""
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    return width, height
