"""Positions as angles by which pairs of features are turned: DALLE-pytorch's, for a text and a grid in one stream.

After RoFormer (arXiv:2104.09864), as DALLE-pytorch 1.6.6 and rotary-embedding-torch 0.3 have it.
"""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

_FAR, _OUTSIDE = 8192, -10  # where codes are for the text's angles, and the text for those of the grid


@lru_cache(maxsize=8)
def angles(text: int, side: int, head_size: int) -> Float32[np.ndarray, "S pairs"]:
    """The angle of each pair of features at each position of the stream: a third each for text, rows and columns.

    Step by step in float32 as the reference computes them: at 8192, an angle's rounding is not small.

    Args:
      text: P, positions of the text.
    """
    size = head_size // 3
    pairs = size // 2
    slow = np.float32(1) / np.float32(10000) ** (np.arange(0, size, 2)[:pairs].astype(np.float32) / np.float32(size))
    fast = _spaced(1, 5, pairs) * np.float32(np.pi)
    line = _spaced(-1, 1, side)
    outside = np.full(text, _OUTSIDE, np.float32)
    of_text = np.concatenate([np.arange(text, dtype=np.float32), np.full(side**2, _FAR, np.float32)])
    row = np.concatenate([outside, np.repeat(line, side)])
    column = np.concatenate([outside, np.tile(line, side)])
    return np.concatenate([of_text[:, None] * slow, row[:, None] * fast, column[:, None] * fast], axis=1)


def _spaced(start: float, stop: float, count: int) -> Float32[np.ndarray, " count"]:
    """Evenly from start to stop, from both ends to the middle, each sum rounded once, as PyTorch counts."""
    if count == 1:
        return np.full(1, start, np.float32)
    step = np.float64(np.float32(stop - start) / np.float32(count - 1))
    rising = start + step * np.arange(count)
    falling = stop - step * np.arange(count - 1, -1, -1)
    return np.where(np.arange(count) < count // 2, rising, falling).astype(np.float32)


def turned(x: Float[Array, "R H L K"], by: Float[Array, "#R L pairs"]) -> Float[Array, "R H L K"]:
    """Turns neighbouring features, as many pairs as there are angles; the rest is as it was."""
    count = 2 * by.shape[-1]
    even, odd = x[..., 0:count:2], x[..., 1:count:2]
    cos, sin = jnp.cos(by)[:, None], jnp.sin(by)[:, None]
    pairs = jnp.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)
    return jnp.concatenate([pairs.reshape(*x.shape[:-1], count), x[..., count:]], axis=-1)
