"""What attention keeps of positions: keys and values, and how steps write them."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int


@struct.dataclass
class KeysValues:
    """What attention looks at, heads before positions: the layout that one decode step reads fastest."""

    keys: Float[Array, "R H S K"]
    values: Float[Array, "R H S K"]

    def write(self, new: "KeysValues", position: Int[Array, " R"]) -> "KeysValues":
        """Puts the L entries of `new` at each row's own `position` and behind it; none outside of 0…S-1."""
        rows, length = jnp.arange(position.shape[0])[:, None], self.keys.shape[2]
        places = position[:, None] + jnp.arange(new.keys.shape[2])  # [R, L]
        places = jnp.where(places < 0, length, places)  # negative ones would count from the end
        return jax.tree.map(
            lambda kept, entry: kept.at[rows, :, places].set(entry.swapaxes(1, 2), mode="drop"), self, new
        )


Cache = tuple[KeysValues, ...]  # of all positions in parts of one length, of which a step may read the first few


def empty_cache(rows: int, heads: int, length: int, size: int, dtype: jnp.dtype, parts: int = 1) -> Cache:
    """Keys and values that nobody wrote. Arrays of their own each time: what is used up must not be there twice.

    Args:
      length: S, over all parts.
      size: K.
    """
    of_part = -(-length // parts)
    shapes = [(rows, heads, min(of_part, length - start), size) for start in range(0, length, of_part)]
    return tuple(KeysValues(keys=jnp.zeros(shape, dtype), values=jnp.zeros(shape, dtype)) for shape in shapes)
