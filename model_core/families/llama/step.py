"""A few codes at a time through Llama blocks: what rows keep of their text and of the codes before.

The last position of a text is not kept with it: it is what the sampler is fed at place 0, in front of the codes, and
its scores are those of the first code. So place i holds what is fed to score code i.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from model_core.families.conditions import StepNumbers
from model_core.families.keys_values import Cache, KeysValues, attend, empty_cache, up_to, visible, write
from model_core.families.llama.blocks import Rotary, block, num_weights, rms_norm
from model_core.families.llama.sizes import BlockSizes

Params = dict[str, Any]
AnyArray = Array | np.ndarray


class Front(NamedTuple):
    """What is a family's own.

    Attributes:
      sizes: of its blocks.
      embed: codes [R, L] → what goes into the first block [R, L, D].
      rotary: lengths of texts [R, 1] and places [R, L] → the angles there.
    """

    sizes: BlockSizes
    embed: Callable[[Array], Array]
    rotary: Callable[[Array, Array], Rotary]


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


def read(
    sizes: BlockSizes, params: Params, x: Float[Array, "R S D"], rotary: Rotary, mask: Bool[Array, "R S"]
) -> tuple[list[Float[Array, "R S D"]], tuple[KeysValues, ...]]:
    """Runs positions that look at themselves and at those before whose mask is true.

    Returns:
      What comes out of each block, and the blocks' keys and values.
    """
    bias = _for_groups(sizes, visible(jnp.tri(x.shape[1], dtype=bool) & mask[:, None, None]))  # [R, 1, G*S, S]
    states, kept = [], []
    for layer in _layers(params):
        x, made = block(sizes, layer, x, rotary, lambda queries, new: (attend(queries, (new,), bias), new))
        states.append(x)
        kept.append(made)
    return states, tuple(kept)


def empty(sizes: BlockSizes, dtype: Any, rows: int, positions: int, places: int, parts: int) -> State:
    """The state of rows that nobody has: a text of so many positions, and a cache of so many places."""
    of_layer = (empty_cache(rows, sizes.kv_heads, positions, sizes.head_width, dtype) for _ in range(sizes.layers))
    text = Text(
        start=jnp.zeros((rows, sizes.width), dtype),
        length=jnp.zeros(rows, jnp.int32),
        keys_values=tuple(part for (part,) in of_layer),
        bias=jnp.zeros((rows, positions), jnp.float32),
    )
    return _begin(sizes, text, places, parts)


def _begin(sizes, text, places, parts):
    rows, dtype = text.length.shape[0], text.keys_values[0].keys.dtype
    cache = (empty_cache(rows, sizes.kv_heads, places, sizes.head_width, dtype, parts) for _ in range(sizes.layers))
    return State(text=text, cache=tuple(cache))


def prefill(
    front: Front, params: Params, text: Text, codes: Int[AnyArray, "R L"], places: int, parts: int
) -> tuple[Float[Array, "R L D"], State]:
    """The state after steps 0…L-1, which feed the start and all of `codes` but the last, in one pass.

    Returns:
      What `advance` gives for them, and the state: with a cache of so many places, in so many parts.
    """
    state, (rows, length) = _begin(front.sizes, text, places, parts), codes.shape
    if length == 0:
        return jnp.zeros((rows, 0, front.sizes.width), text.start.dtype), state
    fed = jnp.pad(jnp.asarray(codes)[:, :-1], ((0, 0), (1, 0)))
    return advance(front, params, state, fed, jnp.zeros(rows, jnp.int32), length)


def advance(
    front: Front,
    params: Params,
    state: State,
    codes: Int[AnyArray, "R L"],
    position: Int[AnyArray, " R"],
    reach: int,
) -> tuple[Float[Array, "R L D"], State]:
    """Runs the L places from each row's `position` on, and keeps them; gives what comes out of the last norm.

    Args:
      codes: the code before each of these places; at place 0 the text's start is fed instead.
      reach: all of them lie before it; only the parts of the cache up to there are read.
    """
    sizes, text, (rows, length) = front.sizes, state.text, codes.shape
    position = jnp.asarray(position)
    places = position[:, None] + jnp.arange(length)  # [R, L]
    x = jnp.where((places == 0)[..., None], text.start[:, None], front.embed(jnp.asarray(codes)))
    rotary = front.rotary(text.length[:, None], places)
    number = up_to(state.cache[0], reach)
    of_codes = visible(jnp.arange(sum(part.length for part in state.cache[0][:number])) <= places[..., None])
    of_text = jnp.broadcast_to(text.bias[:, None], (rows, length, text.bias.shape[1]))
    bias = _for_groups(sizes, jnp.concatenate([of_text, of_codes], axis=-1)[:, None])  # [R, 1, G*L, S]
    cache = []
    for layer, kept, of_layer in zip(_layers(params), state.cache, text.keys_values, strict=True):

        def look(queries, new, kept=kept, of_layer=of_layer):
            seen = write(kept[:number], new, position)
            return attend(queries, (of_layer, *seen), bias), seen + kept[number:]

        x, kept = block(sizes, layer, x, rotary, look)
        cache.append(kept)
    return rms_norm(x, params["norm"], sizes.eps), replace(state, cache=tuple(cache))


def _layers(params: Params) -> list[Params]:
    return [params["layers"][str(i)] for i in range(len(params["layers"]))]


def _for_groups(sizes, bias):
    """Once for each of the heads that share keys and values."""
    return jnp.tile(bias, (1, 1, sizes.heads // sizes.kv_heads, 1))


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
