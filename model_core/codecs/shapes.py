"""What every codec requires of pixels and codes, and how it lays codes out."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model_core.errors import InvalidValue
from model_core.families.conditions import Grid


def require_pixels(pixels: Any, size: tuple[int, int]) -> None:
    """Raises InvalidValue where pictures [B, height, width, 3] are not of that height and width."""
    if pixels.shape[1:3] != size:
        raise InvalidValue(f"pixels must be [B, {size[0]}, {size[1]}, 3]; got {pixels.shape}.", "pixels")


def on_grid(codes: Int[Array | np.ndarray, "B N"], grid: Grid) -> Int[Array, "B rows columns"]:
    """Lays codes out as the grid; InvalidValue where there are more or fewer than a picture has."""
    if codes.shape[1] != grid.num_codes:
        raise InvalidValue(
            f"A picture has {grid.rows} × {grid.columns} = {grid.num_codes} codes; got {codes.shape[1]}.", "codes"
        )
    return jnp.asarray(codes).reshape(-1, grid.rows, grid.columns)


def likeliest(logits: Float[Array, "B h w C"]) -> Int[Array, "B N"]:
    """The codes of the largest logits, row by row: so the same picture always has the same codes."""
    return jnp.argmax(logits, axis=-1).astype(jnp.int32).reshape(len(logits), -1)
