"""Finished images and their order, best first. Imports no JAX."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from model_core.errors import NotFinite


@dataclass(frozen=True, slots=True, eq=False)
class RankedImage:
    """A finished image.

    Attributes:
      codes: what it was decoded from.
      seed: asking for it with `n=1`, all else equal, draws the same image.
      score: of the prompt, higher is better; None where nothing scored it.
    """

    image: UInt8[np.ndarray, "height width 3"]
    codes: Int[np.ndarray, " N"]
    seed: int
    score: float | None


def rank(images: Iterable[RankedImage]) -> list[RankedImage]:
    """Puts the best first. Equal scores keep their order; images without one come last in theirs.

    Raises:
      NotFinite: a score is NaN or infinite, which has no place in an order.
    """

    def key(image: RankedImage) -> float:
        if image.score is None:
            return math.inf
        if not math.isfinite(image.score):
            raise NotFinite(f"The image of seed {image.seed} has a score that is not finite ({image.score}).")
        return -image.score

    return sorted(images, key=key)
