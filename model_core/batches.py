"""Many items in batches of one size, so that one compiled program serves them all."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from model_core.errors import InvalidValue


def batches(total: int, batch_size: int) -> Iterator[tuple[Int[np.ndarray, " rows"], int]]:
    """Cuts `total` items into batches of one size: which items (the last one repeated), and how many are real.

    Raises:
      InvalidValue: there is no item.
    """
    if total < 1:
        raise InvalidValue("Nothing was given; give at least one item.")
    for first in range(0, total, batch_size):
        yield np.arange(first, first + batch_size).clip(max=total - 1), min(batch_size, total - first)


def in_batches(
    compute: Callable[[np.ndarray], Any], items: Shaped[np.ndarray, "M *item"], batch_size: int
) -> Shaped[np.ndarray, "M *result"]:
    """What `compute` makes of all items, given so many at a time. Raises as `batches` does."""
    parts = [np.asarray(compute(items[rows]))[:count] for rows, count in batches(len(items), batch_size)]
    return np.concatenate(parts)
