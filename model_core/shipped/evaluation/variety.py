"""How much the draws of one prompt differ, by their pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8

from model_core.shipped.evaluation.backgrounds import is_background

DRAWS = 9  # of a prompt, of which the different ones are counted
DIFFERENT = 0.05  # two pictures are different that differ by more
PLAIN = 16  # of 255; by so much the colour of an empty place may be off

Image = UInt8[np.ndarray, "h w 3"]
Images = UInt8[np.ndarray, "M h w 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variety:
    """How much the draws of a prompt differ, over some prompts.

    Attributes:
      mean_difference: of each draw and the next.
      num_draws: the first so many of each prompt are counted by what follows.
      num_different: how many of those are different pictures, on average.
      alike: share of the prompts of which those all are one picture.
    """

    mean_difference: float
    num_draws: int
    num_different: float
    alike: float


def variety(images: Sequence[Images]) -> Variety:
    """Of the same number of draws of every prompt."""
    num_draws = min(DRAWS, len(images[0]))
    different = np.array([num_different(each[:num_draws]) for each in images])
    return Variety(
        mean_difference=float(np.mean([mean_difference(each) for each in images])),
        num_draws=num_draws,
        num_different=float(different.mean()),
        alike=float((different == 1).mean()),
    )


def difference(one: Image, other: Image) -> float:
    """Mean absolute difference of pixels over what is drawn in either, as a share of their range."""
    drawn = ~(is_background(one, PLAIN) & is_background(other, PLAIN))
    return float(abs(one[drawn].astype(int) - other[drawn]).mean() / 255) if drawn.any() else 0.0


def mean_difference(images: Images) -> float:
    """Of each draw and the next; 0 where there is one draw."""
    found = [difference(one, other) for one, other in pairwise(images)]
    return float(np.mean(found)) if found else 0.0


def num_different(images: Images) -> int:
    """How many of the draws are different pictures: each that differs from all those counted before it."""
    counted: list[Image] = []
    for image in images:
        if all(difference(image, other) > DIFFERENT for other in counted):
            counted.append(image)
    return len(counted)
