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

from model_core.families.dalle_bart.network import DalleBartConfig


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


def step_work(config: DalleBartConfig, itemsize: int, rows: int, position: int) -> Work:
    """One decoder step of `rows` rows (two to a guided image) that have `position` codes before them.

    Every weight in a product is read once, however many rows there are; keys and values of the codes so far and of the
    text are read once a row. Embeddings, norms, the draw and the writing of caches are too little to count.

    Args:
      itemsize: bytes of a weight, and of an entry of a cache.
    """
    width, layers = config.d_model, config.decoder_layers
    attention = 6 * width**2  # query, key, value, out of the codes; query, out of the text, whose rest is kept
    feed_forward = 3 * width * config.decoder_ffn_dim
    weights = layers * (attention + feed_forward) + width * config.logits_width
    entries = layers * 2 * width * (position + 1 + config.max_text_length)  # keys and values that one row looks at
    return Work(itemsize * (weights + rows * entries), 2 * rows * (weights + entries))


def image_work(config: DalleBartConfig, itemsize: int, rows: int, positions: Int[np.ndarray, " steps"]) -> Work:
    """The steps at `positions`, all rows together."""
    return sum((step_work(config, itemsize, rows, int(p)) for p in positions), Work(0, 0))


def program_flops(function: Any, *arguments: Any) -> float:
    """Counts a jitted function's floating-point operations as XLA does, in the program before any optimisation."""
    return function.lower(*arguments).cost_analysis()["flops"]
