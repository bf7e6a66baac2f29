"""Finished images, their order, best first, and which of them to return. Imports no JAX."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from model_core.errors import NotFinite

DIVERSITY = 0.02  # by eye, two pictures that differ by less are the same drawing
BLOCK = 8  # pixels of a side that are looked at as one: what is drawn counts, not how sharp its edges came out


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


def best(images: Iterable[RankedImage], n: int, diversity: float = DIVERSITY) -> list[RankedImage]:
    """The best `n`, best first, leaving out near copies of better ones as long as others are there.

    Images without scores were not chosen among: the first `n` of them are taken, copies or not.

    Args:
      diversity: a picture is a near copy of another one of its size where the mean difference of their colours, black
        to white being 1, is below it; 0 leaves none out.

    Raises:
      NotFinite: as `rank`.
    """
    ranked = rank(images)
    if n >= len(ranked) or diversity == 0 or any(image.score is None for image in ranked):
        return ranked[:n]
    chosen: list[int] = []
    seen: list[Float[np.ndarray, "h w 3"]] = []
    for place, image in enumerate(ranked):
        coarse = _coarse(image.image)
        if all(np.abs(coarse - other).mean() >= diversity for other in seen):
            chosen.append(place)
            seen.append(coarse)
            if len(chosen) == n:
                break
    copies = (place for place in range(len(ranked)) if place not in chosen)
    chosen += [place for place, _ in zip(copies, range(n - len(chosen)), strict=False)]
    return [ranked[place] for place in sorted(chosen)]


def _coarse(image: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "h w 3"]:
    height, width = (max(1, side // BLOCK) for side in image.shape[:2])
    tall, wide = image.shape[0] // height, image.shape[1] // width
    blocks = image[: height * tall, : width * wide].reshape(height, tall, width, wide, 3)
    return blocks.mean(axis=(1, 3)) / 255
