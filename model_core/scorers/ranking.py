"""Ranking: images become an order, best first.

Knows nothing of what scored them.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8


@dataclass(frozen=True, slots=True, eq=False)
class RankedImage:
    """A finished image.

    Attributes:
      codes: what it was decoded from.
      seed: asking for it with `n=1`, all else equal, draws the same image.
      score: the scorer's, higher is better; None where there is none.
    """

    image: UInt8[np.ndarray, "height width 3"]
    codes: Int32[np.ndarray, " N"]
    seed: int
    score: float | None


def rank(images: Any) -> Any:
    """Best first; equal scores keep their order, and images without a score (None, NaN) come last."""
    if isinstance(images, np.ndarray):  # until everybody gives images
        return np.argsort(-images, kind="stable")

    def place(drawn: RankedImage) -> tuple[bool, float]:
        score = math.nan if drawn.score is None else drawn.score
        return (True, 0.0) if math.isnan(score) else (False, -score)

    return sorted(images, key=place)
