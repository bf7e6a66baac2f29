"""Ranking: scores become an order, best first.

Knows nothing of what was scored.
"""

import numpy as np
from jaxtyping import Float, Int


def rank(scores: Float[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
    """Turns scores into the order of their positions, best first.

    Equal scores keep their order; NaN, the score of what could not be scored, comes last.
    """
    return np.argsort(-scores, kind="stable")  # numpy sorts NaN to the end
