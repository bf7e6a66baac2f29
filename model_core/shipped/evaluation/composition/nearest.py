"""How near drawn pictures come to those that a model learned from."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Float32, UInt8

from model_core.shipped.evaluation.variety import difference

COARSE = 16  # pixels of a side, by which the candidates are found
CANDIDATES = 4
ALIKE = 0.02  # of the range of a pixel, over what is drawn: two such pictures are one

Picture = UInt8[np.ndarray, "h w 3"]


def distances(drawn: UInt8[np.ndarray, "M h w 3"], learned: Iterable[Picture]) -> Float[np.ndarray, " M"]:
    """The difference of each drawn picture from the nearest of those learned from, as `variety.difference` has it.

    Only those are looked at closely that are nearest when both are reduced to 16 × 16 pixels.
    """
    coarse = np.stack([_reduced(picture) for picture in drawn])
    nearest: list[list[tuple[float, Picture]]] = [[] for _ in drawn]
    for picture in learned:
        apart = abs(coarse - _reduced(picture)).mean(axis=(1, 2))
        for place, (each, kept) in enumerate(zip(apart, nearest, strict=True)):
            if len(kept) < CANDIDATES or each < kept[-1][0]:
                nearest[place] = sorted([*kept, (float(each), picture)], key=lambda pair: pair[0])[:CANDIDATES]
    return np.array(
        [
            min((difference(picture, other) for _, other in kept), default=np.inf)
            for picture, kept in zip(drawn, nearest, strict=True)
        ]
    )


def _reduced(picture: Picture) -> Float32[np.ndarray, "pixels 3"]:
    step = picture.shape[0] // COARSE
    cells = picture.reshape(COARSE, step, COARSE, step, 3).astype(np.float32)
    return cells.mean(axis=(1, 3)).reshape(-1, 3)
