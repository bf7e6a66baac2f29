"""Keys and values that rows keep of the positions before, for families whose layers attend.

Heads come before positions, the layout that one decode step reads fastest. A cache is cut into parts of one length, of
which a step may read the first few.
"""

import math
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

LOWEST = float(jnp.finfo(jnp.float32).min)  # rather than -inf: who may look at nothing stays finite


@struct.dataclass
class KeysValues:
    """What attention looks at, heads before positions."""

    keys: Float[Array, "R H S K"]
    values: Float[Array, "R H S K"]

    @property
    def length(self) -> int:
        """S: how many positions there are."""
        return self.keys.shape[2]

    def write(self, new: "KeysValues", position: Int[Array, " R"]) -> "KeysValues":
        """Puts the L entries of `new` at each row's own `position` and behind it; none beyond S."""
        rows, length = jnp.arange(position.shape[0])[:, None], self.length
        places = position[:, None] + jnp.arange(new.length)  # [R, L]
        places = jnp.where(places < 0, length, places)  # negative ones would count from the end
        return jax.tree.map(
            lambda kept, entry: kept.at[rows, :, places].set(entry.swapaxes(1, 2), mode="drop"), self, new
        )


Cache = tuple[KeysValues, ...]  # of all positions in parts of one length


def empty_cache(rows: int, heads: int, length: int, size: int, dtype: Any, parts: int = 1) -> Cache:
    """Keys and values that nobody wrote. Arrays of their own each time: what is used up must not be there twice.

    Args:
      length: S, over all parts.
      size: K.
    """
    of_part = -(-length // parts)
    shapes = [(rows, heads, min(of_part, length - start), size) for start in range(0, length, of_part)]
    return tuple(KeysValues(keys=jnp.zeros(shape, dtype), values=jnp.zeros(shape, dtype)) for shape in shapes)


def write(cache: Cache, new: KeysValues, position: Int[Array, " R"]) -> Cache:
    """Puts the L entries of `new` into whichever parts each row's `position` and those behind it lie in."""
    starts = np.cumsum([0] + [part.length for part in cache[:-1]])
    return tuple(part.write(new, position - start) for part, start in zip(cache, starts, strict=True))


def up_to(cache: Cache, reach: int) -> int:
    """How many parts hold the positions before `reach`."""
    starts = np.cumsum([0] + [part.length for part in cache[:-1]])
    return int((starts < reach).sum())


def attend(
    query: Float[Array, "R H L K"], source: Cache, bias: Float[Array, "#R #H #L S"], *, scale: float | None = None
) -> Float[Array, "R L H*K"]:
    """Lets L queries of each head look at S positions, counted over all of `source`.

    Args:
      bias: float32, added to the scores; `LOWEST` where a query may not look.
      scale: of the scores; None takes K^-0.5.
    """
    scores = [jnp.einsum("rhlk,rhsk->rhls", query, part.keys, preferred_element_type=jnp.float32) for part in source]
    scores = jnp.concatenate(scores, axis=-1)
    scores = scores / math.sqrt(query.shape[-1]) if scale is None else scores * scale
    weights = jax.nn.softmax(scores + bias).astype(source[0].values.dtype)
    ends = np.cumsum([part.length for part in source])[:-1]
    of_parts = jnp.split(weights, ends, axis=-1)
    mixed = [
        jnp.einsum("rhls,rhsk->rhlk", of_part, part.values) for of_part, part in zip(of_parts, source, strict=True)
    ]
    mixed = reduce(jnp.add, mixed).swapaxes(1, 2)
    return mixed.reshape(*mixed.shape[:2], -1)


def visible(mask: Bool[Array, "..."]) -> Float[Array, "..."]:
    """The bias of `attend` for a mask: nothing where it is true, `LOWEST` where it is not."""
    return jnp.where(mask, 0.0, LOWEST)
