"""Cutouts: squares of a picture, of random place and size, as a scorer looks at them.

A scorer that sees the whole picture alone is fooled by patterns that no person sees; many looks at parts of it are
harder to fool. Source of the method: Katherine Crowson's VQGAN+CLIP, 2021 (`MakeCutouts`).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

POWER = 1.0  # of the distribution of sizes; above 1 smaller ones are likelier


def cut(
    pixels: Float[Array, "height width channels"], key: Array, places: Int[Array, " B"], side: int
) -> Float[Array, "B side side channels"]:
    """Cuts squares out of a picture and scales them (bicubic, antialiased); differentiable.

    Their sides are spread evenly between that of the scorer, where it is the smaller, and that of the picture. Scale
    and place are traced: one program cuts them all.

    Args:
      key: of this step.
      places: numbers of the cutouts; one of the same number and key is always the same.
      side: of the result, in pixels.
    """
    height, width, channels = pixels.shape
    largest = min(height, width)
    smallest = min(largest, side)

    def one(place: Int[Array, ""]) -> Float[Array, "side side channels"]:
        size_key, corner_key = jax.random.split(jax.random.fold_in(key, place))
        size = smallest + (largest - smallest) * jax.random.uniform(size_key) ** POWER
        corner = jax.random.uniform(corner_key, (2,)) * (jnp.array([height, width]) - size)
        scale = jnp.full(2, side / size)
        # What lies beyond the picture's edge is 0 to it: shifted by 1, that is white.
        shifted = jax.image.scale_and_translate(
            pixels - 1, (side, side, channels), (0, 1), scale, -corner * scale, "cubic"
        )
        return shifted + 1

    return jax.vmap(one)(places)
