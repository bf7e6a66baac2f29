"""Finished images and their order, best first. Knows nothing of what scored them; imports no JAX."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8


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
    """Puts the best first. Equal scores keep their order; images without one, or with NaN, come last in theirs."""

    def key(image: RankedImage) -> float:
        return math.inf if image.score is None or math.isnan(image.score) else -image.score

    return sorted(images, key=key)
