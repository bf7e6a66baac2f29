"""What an image must cost: the bytes that have to be read and the arithmetic that has to be done.

Least amounts, from the model's sizes alone: what a better program could not avoid, not what this one does. Anything
more than this (copies, padding, caches read further than needed) is lost against the limit.
Knows nothing of machines.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from model_core.families.conditions import StepNumbers


@dataclass(frozen=True, slots=True)
class Work:
    """Bytes read from memory and floating-point operations; a multiply-add counts two."""

    num_bytes: float
    num_flops: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.num_bytes + other.num_bytes, self.num_flops + other.num_flops)

    def __mul__(self, times: float) -> "Work":
        return Work(self.num_bytes * times, self.num_flops * times)


def num_weight_bytes(params: Any) -> int:
    """The bytes of a tree of arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(params))


def step_work(numbers: StepNumbers, itemsize: int, rows: int, position: int) -> Work:
    """One step of `rows` rows (two to a guided image) that have `position` codes before them.

    Every weight in a product is read once, however many rows there are; what is kept of the codes so far and of the
    text is read once a row.

    Args:
      itemsize: bytes of a weight, and of a number that is kept.
    """
    kept = numbers.text + numbers.per_code * (position + 1)
    return Work(itemsize * (numbers.weights + rows * kept), 2 * rows * (numbers.weights + kept))


def image_work(numbers: StepNumbers, itemsize: int, rows: int, positions: Int[np.ndarray, " steps"]) -> Work:
    """The steps at `positions`, all rows together."""
    return sum((step_work(numbers, itemsize, rows, int(p)) for p in positions), Work(0, 0))


def program_flops(function: Any, *arguments: Any) -> float:
    """Counts a jitted function's floating-point operations as XLA does, in the program before any optimisation."""
    return function.lower(*arguments).cost_analysis()["flops"]
