"""A few codes at a time through Llama blocks: what rows keep of their text and of the codes before.

The last position of a text is not kept with it: it is what the sampler is fed at place 0, in front of the codes, and its
scores are those of the first code. So place i holds what is fed to score code i.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from model_core.families.conditions import StepNumbers
from model_core.families.keys_values import Cache, KeysValues, attend, empty_cache, up_to, visible, write
from model_core.families.llama.blocks import Rotary, block, num_weights, rms_norm
from model_core.families.llama.sizes import BlockSizes

Params = dict[str, Any]


@struct.dataclass
class Text:
    """What R rows look at of their texts, made once for each.

    Attributes:
      start: what is fed at place 0.
      length: positions of the text in front of it, padding not counted.
      keys_values: per layer, of those positions.
      bias: added to the scores of those positions, float32.
    """

    start: Float[Array, "R D"]
    length: Int[Array, " R"]
    keys_values: tuple[KeysValues, ...]
    bias: Float[Array, "R S"]


@struct.dataclass
class State:
    """What R rows carry from one position to the next.

    Attributes:
      text: of each row.
      cache: per layer, of places, in parts; what lies at a row's position and beyond is never read.
    """

    text: Text
    cache: tuple[Cache, ...]


def layers_of(params: Params) -> list[Params]:
    """The blocks' parameters, in order."""
    return [params["layers"][str(i)] for i in range(len(params["layers"]))]


def read(
    sizes: BlockSizes, params: Params, x: Float[Array, "R S D"], rotary: Rotary, mask: Bool[Array, "R S"]
) -> tuple[list[Float[Array, "R S D"]], tuple[KeysValues, ...]]:
    """Runs positions that look at themselves and at those before whose mask is true.

    Returns:
      What comes out of each block, and the blocks' keys and values.
    """
    bias = visible(jnp.tri(x.shape[1], dtype=bool) & mask[:, None, None])  # [R, 1, S, S]
    bias = jnp.tile(bias, (1, 1, sizes.heads // sizes.kv_heads, 1))
    states, kept = [], []
    for layer in layers_of(params):
        x, made = block(sizes, layer, x, rotary, lambda queries, new: (attend(queries, (new,), bias), new))
        states.append(x)
        kept.append(made)
    return states, tuple(kept)


def empty(sizes: BlockSizes, dtype: Any, rows: int, positions: int, places: int, parts: int) -> State:
    """The state of rows that nobody has: a text of so many positions, and a cache of so many places."""
    kept = [empty_cache((rows, sizes.kv_heads, positions, sizes.head_width), 1, dtype) for _ in range(sizes.layers)]
    text = Text(
        start=jnp.zeros((rows, sizes.width), dtype),
        length=jnp.zeros(rows, jnp.int32),
        keys_values=tuple(part for (part,) in kept),
        bias=jnp.zeros((rows, positions), jnp.float32),
    )
    return begin(sizes, text, places, parts)


def begin(sizes: BlockSizes, text: Text, places: int, parts: int) -> State:
    """The state of rows that have a text and no code."""
    shape = text.length.shape[0], sizes.kv_heads, places, sizes.head_width
    dtype = text.keys_values[0].keys.dtype
    return State(text=text, cache=tuple(empty_cache(shape, parts, dtype) for _ in text.keys_values))


def feed(
    state: State,
    codes: Int[Array, "R L"],
    position: Int[Array, " R"],
    embed: Callable[[Int[Array, "R L"]], Float[Array, "R L D"]],
) -> tuple[Float[Array, "R L D"], Int[Array, "R L"]]:
    """What goes into the first block at the L places from `position` on, and those places."""
    places = position[:, None] + jnp.arange(codes.shape[1])
    return jnp.where((places == 0)[..., None], state.text.start[:, None], embed(codes)), places


def advance(
    sizes: BlockSizes,
    params: Params,
    state: State,
    x: Float[Array, "R L D"],
    rotary: Rotary,
    position: Int[Array, " R"],
    reach: int,
) -> tuple[Float[Array, "R L D"], State]:
    """Runs the L places from each row's `position` on, and keeps them; gives what comes out of the last norm.

    Args:
      reach: all of them lie before it; only the parts of the cache up to there are read.
    """
    number = up_to(state.cache[0], reach)
    length = sum(part.length for part in state.cache[0][:number])
    last_seen = position[:, None] + jnp.arange(x.shape[1])  # [R, L]
    of_codes = visible(jnp.arange(length) <= last_seen[..., None])  # [R, L, S]
    of_text = jnp.broadcast_to(state.text.bias[:, None], (*x.shape[:2], state.text.bias.shape[1]))
    bias = jnp.concatenate([of_text, of_codes], axis=-1)[:, None]
    bias = jnp.tile(bias, (1, 1, sizes.heads // sizes.kv_heads, 1))
    cache = []
    for layer, kept, text in zip(layers_of(params), state.cache, state.text.keys_values, strict=True):

        def look(queries, new, kept=kept, text=text):
            seen = write(kept[:number], new, position)
            return attend(queries, (text, *seen), bias), seen + kept[number:]

        x, kept = block(sizes, layer, x, rotary, look)
        cache.append(kept)
    return rms_norm(x, params["norm"], sizes.eps), replace(state, cache=tuple(cache))


def step_numbers(sizes: BlockSizes, positions: int, others: int) -> StepNumbers:
    """What a step reads at least.

    Args:
      positions: of a text.
      others: weights of the products outside the blocks.
    """
    per_position = 2 * sizes.layers * sizes.kv_heads * sizes.head_width
    return StepNumbers(
        weights=sizes.layers * num_weights(sizes) + others, text=per_position * positions, per_code=per_position
    )
