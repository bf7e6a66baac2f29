"""Whether drawn pictures show what was asked for, as an independent judge sees it, and what choosing among draws buys.

Choosing is done by the model's own scorer, judging by a judge that knows nothing of it. All draws of a prompt are used
for every `best_of`: 16 draws are sixteen times the best of one, four times the best of four, once the best of 16.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from model_core.shipped.evaluation.measures import hits, interval

BLANK = 0.01  # a picture with a smaller share of pixels that are not white shows nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Adherence:
    """How often the chosen picture is judged to be of what was asked for; intervals are of 95 %, over prompts.

    Attributes:
      gain: of top_1 over that of single draws.
    """

    best_of: int
    top_1: float
    top_1_interval: tuple[float, float]
    top_5: float
    top_5_interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]


def adherence(
    logits: Float[np.ndarray, "P M classes"],
    labels: Int[np.ndarray, " P"],
    scores: Float32[np.ndarray, "P M"],
    best_ofs: Sequence[int],
) -> list[Adherence]:
    """Scores of the best of 1, 4, … draws.

    Args:
      logits: the judge's, of M draws of P prompts.
      labels: the class of each prompt.
      scores: what the best draws are chosen by.
    """
    everywhere = np.broadcast_to(labels[:, None], scores.shape)
    top = {k: hits(logits, everywhere, k).astype(float) for k in (1, 5)}
    single = top[1].mean(axis=1)
    found = []
    for best_of in best_ofs:
        chosen = best_draws(scores, best_of)
        top_1, top_5 = (np.take_along_axis(top[k], chosen, axis=1).mean(axis=1) for k in (1, 5))
        found.append(
            Adherence(
                best_of=best_of,
                top_1=float(top_1.mean()),
                top_1_interval=interval(top_1),
                top_5=float(top_5.mean()),
                top_5_interval=interval(top_5),
                gain=float((top_1 - single).mean()),
                gain_interval=interval(top_1 - single),
            )
        )
    return found


def best_draws(scores: Float32[np.ndarray, "P M"], best_of: int) -> Int[np.ndarray, "P groups"]:
    """The draw with the best score in each group of `best_of` draws; draws that fill no group are left out."""
    groups = scores.shape[1] // best_of
    grouped = scores[:, : groups * best_of].reshape(len(scores), groups, best_of)
    return grouped.argmax(axis=2) + np.arange(groups) * best_of


def share_of_blanks(images: UInt8[np.ndarray, "M h w 3"]) -> float:
    """How many of the pictures show nothing, or next to nothing."""
    return float(((images < 250).any(axis=3).mean(axis=(1, 2)) < BLANK).mean())
