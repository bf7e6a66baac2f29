"""What a picture's background is, as its border tells: its colour, and where it is."""

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from model_core.shipped.scenes import COLORS, WHITE

EDGE = 3  # pixels of the border that tell the background's colour
NEAR = 60  # a pixel is background if none of its colours is further from the border's


def background_of(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """The colour that the picture's border is nearest to: "white", or one of `COLORS`."""
    palette = {"white": WHITE, **COLORS}
    values = np.array([[int(value[i : i + 2], 16) for i in (1, 3, 5)] for value in palette.values()])
    return list(palette)[((values - border_color(image)) ** 2).sum(axis=1).argmin()]


def on_white(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with what is of its border's colour, and hangs together with the border, made white."""
    alike = is_background(image, NEAR)
    pieces = np.zeros(alike.shape, np.int32)
    ndimage.label(alike, output=pieces)
    outside = np.unique(pieces[_border(image)])
    return np.where(np.isin(pieces, outside[outside > 0])[..., None], np.uint8(255), image)


def is_background(image: UInt8[np.ndarray, "h w 3"], near: int) -> Bool[np.ndarray, "h w"]:
    """Which pixels have the border's colour, or one that no channel is further from than `near`."""
    return np.all(abs(image - border_color(image)) <= near, axis=2)


def border_color(image: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    """The median of each channel over the picture's border."""
    return np.median(image[_border(image)], axis=0)


def _border(image: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    inside = np.zeros(image.shape[:2], bool)
    inside[EDGE:-EDGE, EDGE:-EDGE] = True
    return ~inside
