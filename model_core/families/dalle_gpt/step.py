"""The text read once, and a few codes at a time: what rows carry from one position to the next.

The text is the front of the stream, and all of it is there: its keys and values in every layer, and the scores of the
first code. A step feeds the code before each position. What the functions that a family offers promise stands in
`families.protocol`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Shaped

from model_core.families.conditions import StepNumbers
from model_core.families.dalle_gpt import rotary
from model_core.families.dalle_gpt.attention import attend, attend_causally, view
from model_core.families.dalle_gpt.network import Params, Watch, embed_codes, embed_text, head, run_layers
from model_core.families.dalle_gpt.sizes import DalleGptConfig
from model_core.families.keys_values import Cache, KeysValues, empty_cache

AnyArray = Array | np.ndarray


@struct.dataclass
class Text:
    """What R texts leave for their codes.

    Attributes:
      keys_values: per layer, [R, H, P, K].
      first: scores of the first code.
    """

    keys_values: tuple[KeysValues, ...]
    first: Float[Array, "R C"]


@struct.dataclass
class State:
    """What R rows carry. A row is one code sequence under one text.

    Attributes:
      text: of each row.
      cache: per layer, keys and values [R, H, N, K] of codes, in parts where a layer looks at all of them.
      shifted: per attention and feed-forward, those features of each code that others take; empty where none are.
    """

    text: Text
    cache: tuple[Cache, ...]
    shifted: tuple[Float[Array, "R N features"], ...]


def step_weights(params: Params) -> Params:
    """What `prefill` and `step` take: all but what only scores text tokens. Nothing is copied."""
    is_tied = "embedding" not in params.get("text", {})
    return params if is_tied else {name: leaf for name, leaf in params.items() if name != "text_head"}


def cutting(place: Callable[[str, np.ndarray], Any] | None = None) -> Callable[[str, np.ndarray], Any] | None:
    """Parameters lie as steps read them: nothing is to be cut."""
    return place


def read_text(
    config: DalleGptConfig,
    weights: Params,
    values: Int[AnyArray, "R T"],
    mask: Shaped[AnyArray, "R T"],
    watch: Watch = lambda x: None,
) -> Text:
    """Runs token ids through all layers. The mask does not matter: pads are tokens, and codes look at them."""
    turn = _turning(config, jnp.arange(config.stream_text)[None], weights)

    def attend_text(_, query, key, value):
        query, key, value = map(turn, (query, key, value))
        own = KeysValues(keys=key, values=value)
        return attend_causally(query, own), own

    def shift_text(_, x):
        size = -(-config.width // 2)
        before = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return (jnp.concatenate([before[..., :size], x[..., size:]], axis=-1) if config.shifts else x), None

    x = embed_text(config, weights, jnp.asarray(values))
    x, kept = run_layers(config, weights, x, attend_text, shift_text, watch)
    return Text(keys_values=tuple(layer.attention for layer in kept), first=head(config, weights, x[:, -1:])[:, 0])


def empty(config: DalleGptConfig, weights: Params, rows: int, parts: int = 1) -> State:
    """The state of rows that nobody has."""
    dtype = _dtype(weights)
    of_text = (empty_cache(rows, config.heads, config.stream_text, config.head_size, dtype) for _ in config.attention)
    text = Text(tuple(kept for (kept,) in of_text), jnp.zeros((rows, config.codebook)))
    return _begun(config, weights, text, parts)


def _begun(config: DalleGptConfig, weights: Params, text: Text, parts: int) -> State:
    """The state of rows before their first code."""
    (rows, _), length, dtype = text.first.shape, config.grid.num_codes, _dtype(weights)
    cache = tuple(
        empty_cache(rows, config.heads, length, config.head_size, dtype, parts if kind == "full" else 1)
        for kind in config.attention
    )
    count, size = (2 * config.layers if config.shifts else 0), 2 * _quarter(config)
    shifted = tuple(jnp.zeros((rows, length, size), dtype) for _ in range(count))
    return State(text, cache, shifted)


def prefill(config: DalleGptConfig, weights: Params, text: Text, codes: Int[AnyArray, "R L"], parts: int = 1) -> State:
    """The state after steps 0…L-1, which feed all of `codes` but the last, in one pass."""
    state = _begun(config, weights, text, parts)
    if codes.shape[1] < 2:
        return state
    start = jnp.zeros(codes.shape[0], jnp.int32)
    return feed(config, weights, state, jnp.asarray(codes)[:, :-1], start, config.grid.num_codes)[1]


def step(
    config: DalleGptConfig,
    weights: Params,
    state: State,
    codes: Int[AnyArray, "R L"],
    position: Int[AnyArray, " R"],
    reach: int,
) -> tuple[Float[Array, "R L C"], State]:
    """Scores the codes at L positions of each row, from `position` on, and keeps what later positions need."""
    place = jnp.asarray(position) - 1  # of the first code that is fed: -1 where there is none yet
    x, state = feed(config, weights, state, jnp.asarray(codes), place, reach)
    is_first = (place[:, None] + jnp.arange(codes.shape[1]) < 0)[..., None]
    return jnp.where(is_first, state.text.first[:, None], head(config, weights, x)), state


def feed(
    config: DalleGptConfig,
    weights: Params,
    state: State,
    codes: Int[Array, "R L"],
    place: Int[Array, " R"],
    reach: int,
    watch: Watch = lambda x: None,
) -> tuple[Float[Array, "R L D"], State]:
    """Runs L codes of each row, the first at its own `place` in the grid, through all layers.

    Where a place is outside of the grid, nothing is written, and what comes out is finite.
    """
    places = place[:, None] + jnp.arange(codes.shape[1])  # [R, L]
    inside = jnp.clip(places, 0, config.grid.num_codes - 1)
    turn = _turning(config, config.stream_text + inside, weights)
    seen = {kind: view(config, kind, inside) for kind in dict.fromkeys(config.attention)}

    def attend_codes(layer, query, key, value):
        query, key, value = map(turn, (query, key, value))
        new = KeysValues(keys=key, values=value)
        starts = np.cumsum([0, *(part.keys.shape[2] for part in state.cache[layer])])
        cache = tuple(
            part.write(new, place - start) if start < reach else part
            for part, start in zip(state.cache[layer], starts, strict=False)
        )
        kind = config.attention[layer]
        return attend(query, state.text.keys_values[layer], cache, seen[kind], inside, reach), cache

    def shift_codes(which, x):
        if not config.shifts:
            return x, None
        size, rows = _quarter(config), jnp.arange(len(place))[:, None]
        targets = jnp.where(places < 0, config.grid.num_codes, places)
        before = state.shifted[which]
        kept = before.at[rows, targets].set(x[..., : 2 * size].astype(before.dtype), mode="drop")
        row, column = jnp.divmod(inside, config.side)
        above = jnp.where((row > 0)[..., None], kept[rows, inside - config.side, :size], 0)
        left = jnp.where((column > 0)[..., None], kept[rows, inside - 1, size:], 0)
        return jnp.concatenate([above, left, x[..., 2 * size :]], axis=-1), kept

    x = embed_codes(config, weights, jnp.clip(codes, 0, config.codebook - 1), inside)
    x, kept = run_layers(config, weights, x, attend_codes, shift_codes, watch)
    shifted = tuple(shift for layer in kept for shift in layer.shifts) if config.shifts else ()
    return x, replace(state, cache=tuple(layer.attention for layer in kept), shifted=shifted)


def _turning(config: DalleGptConfig, positions: Int[Array, "R L"], weights: Params) -> Callable[[Array], Array]:
    """Turns queries, keys or values at positions of the stream, and gives them in the dtype of the weights."""
    dtype = _dtype(weights)
    if not config.is_rotary:
        return lambda x: x.astype(dtype)
    by = jnp.asarray(rotary.angles(config.stream_text, config.side, config.head_size))[positions]
    return lambda x: rotary.turned(x, by).astype(dtype)


def _dtype(weights: Params) -> Any:
    return weights["head"]["weight"].dtype


def _quarter(config: DalleGptConfig) -> int:
    """Of the features: so many come from the code above, and as many from the one to the left."""
    return -(-config.width // 4)


def step_numbers(config: DalleGptConfig) -> StepNumbers:
    """What a step reads at least. A layer that looks at its own row or around a code is counted without those few."""
    width, inner, layers = config.width, config.heads * config.head_size, config.layers
    gated = 2 if config.activation == "geglu" else 1
    feed_forward = (gated + 1) * config.hidden * width
    num_full, num_columns = (sum(kind == of for of in config.attention) for kind in ("full", "axial_col"))
    return StepNumbers(
        weights=layers * (4 * inner * width + feed_forward) + width * config.codebook,
        text=layers * 2 * inner * config.stream_text,
        per_code=2 * inner * num_full + 2 * inner * num_columns // config.side,
    )
