"""How far a VQGAN's pictures are from what they should be: absolute and squared error, and that of picture edges."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def edge_loss(got: Float[Array, "B h w 3"], want: Float[Array, "B h w 3"]) -> Float[Array, ""]:
    """Mean absolute difference of horizontal and vertical steps, at full, half and quarter size."""
    total = jnp.zeros(())
    difference = got - want
    for _ in range(3):
        total += jnp.abs(jnp.diff(difference, axis=1)).mean() + jnp.abs(jnp.diff(difference, axis=2)).mean()
        batch, height, width, channels = difference.shape
        difference = difference.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
    return total


def reconstruction_loss(got: Float[Array, "B h w 3"], want: Float[Array, "B h w 3"], edges: float) -> Float[Array, ""]:
    """What is minimised of the pictures; `edges` is the weight of their edges."""
    squared = jnp.mean((got - want) ** 2)
    return jnp.abs(got - want).mean() + 2 * squared + edges * edge_loss(got, want)
