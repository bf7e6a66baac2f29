"""Pictures of a square ring, made by hand."""

import numpy as np

from model_core.shipped.scenes import COLORS


def rgb(color: str) -> np.ndarray:
    return np.array([int(COLORS[color][i : i + 2], 16) for i in (1, 3, 5)], np.uint8)


def picture(background: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """A square ring: what is inside it has the background's colour again, and belongs to the thing."""
    image = np.full((64, 64, 3), background, np.uint8)
    image[16:48, 16:48] = middle
    image[28:36, 28:36] = background
    return image
