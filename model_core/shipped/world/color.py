"""Colours as people see them: sRGB to and from Oklab (Ottosson, 2020), and the ten colours that have names here.

Oklab separates lightness from hue, so that a drawing keeps its light and shade when it is turned to another colour.
"""

import numpy as np
from jaxtyping import Float

from model_core.shipped.scenes import COLORS

_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def to_lab(rgb: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Colours 0…1 as Oklab: lightness 0…1, green to red, blue to yellow."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T


def to_rgb(lab: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """The same back; what no screen can show is cut to 0…1."""
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_CONES).T
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055).clip(0, 1)


def parse_hex(color: str) -> Float[np.ndarray, " 3"]:
    """ "#e53935", or short "#e33", as three numbers 0…1."""
    digits = color.lstrip("#")
    if len(digits) < 6:
        digits = "".join(2 * digit for digit in digits)
    return np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])


def as_hex(rgb: Float[np.ndarray, " 3"]) -> str:
    """The reverse of `parse_hex`."""
    return "#" + "".join(f"{round(float(value) * 255):02x}" for value in rgb)


NAMED = {name: to_lab(parse_hex(code)) for name, code in COLORS.items()}  # Oklab


def chroma_of(lab: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """How far from grey: 0 to about 0.3."""
    return np.asarray(np.hypot(lab[..., 1], lab[..., 2]))


def hue_of(lab: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """The hue as an angle in degrees; without meaning where there is no chroma."""
    return np.asarray(np.degrees(np.arctan2(lab[..., 2], lab[..., 1])))


def hue_distance(one: Float[np.ndarray, "*n"], other: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The angle between two hues, 0…180 degrees."""
    return np.asarray(abs((one - other + 180) % 360 - 180))


def nearest_name(lab: Float[np.ndarray, " 3"]) -> str:
    """The named colour that is nearest."""
    return min(NAMED, key=lambda name: float(np.linalg.norm(NAMED[name] - lab)))
