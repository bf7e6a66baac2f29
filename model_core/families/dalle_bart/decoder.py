"""Codes one at a time: the decoder's cached step and the state that it carries.

Knows nothing of sampling, of guidance, or of who drives it: rows are independent, each at its own position.

Layers run unrolled over weights cut out of the stack once: inside a scan over stacked weights, XLA's CPU backend
copies every layer's weights at every step. The modules are those of the full forward pass.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from model_core.families.dalle_bart.layers import BlockTable, DecoderLayer, KeysValues
from model_core.families.dalle_bart.network import DalleBart, DalleBartConfig

PARTS = 4  # of an image, at most, whose keys and values lie in blocks of their own


@struct.dataclass
class DecoderWeights:
    """The decoder's parameters as the cached step reads them: kernels [out, in], fastest for few rows on a CPU.

    Attributes:
      shared: the published tree without the encoder and without the decoder's layers; embeddings are not copied.
      layers: one tree per layer, cut out of the stacked layers.
    """

    shared: Any
    layers: tuple[Any, ...]

    def published(self) -> tuple[Any, list[Any]]:
        """Gives both as modules take them, kernels [in, out]; inside jit, where turning them around costs nothing."""
        return self.shared | {"lm_head": _turned(self.shared["lm_head"])}, [_turned(layer) for layer in self.layers]


@struct.dataclass
class DecodeState:
    """All that R rows carry from one position to the next. A row is one code sequence under one text.

    Attributes:
      position: the place of the id that each row feeds next; 0 takes the start token. At most N - 1.
      cache: per layer, keys and values [B, H, S, K] of the positions before `position`; what lies beyond is never read.
      table: which blocks of the cache are whose. A row needs those up to its position; a step takes time for all B.
      text: per layer, keys and values [R, H, T, K] of the encoder states.
      text_mask: which of the T text positions are real.
    """

    position: Int[Array, " R"]
    cache: tuple[KeysValues, ...]
    table: BlockTable
    text: tuple[KeysValues, ...]
    text_mask: Bool[Array, "R T"]


def decoder_weights(params: Any) -> DecoderWeights:
    """Cuts `params` (the published tree, layers stacked) into what `prefill` and `decode_step` take.

    Make it once and drop `params` where nothing else needs them: layers and head are copies. Layers that `cutting` has
    cut already are taken as they are.
    """
    decoder = dict(params["model"]["decoder"])
    layers = jax.tree.map(_layers_of, decoder.pop("layers")["FlaxBartDecoderLayers"], is_leaf=_is_cut)
    num_layers = len(jax.tree.leaves(layers, is_leaf=_is_cut)[0])
    return DecoderWeights(
        shared={"model": {"decoder": jax.tree.map(jnp.asarray, decoder)}, "lm_head": _turned(params["lm_head"])},
        layers=tuple(jax.tree.map(lambda cut, i=i: cut[i], layers, is_leaf=_is_cut) for i in range(num_layers)),
    )


def cutting(place: Callable[[str, np.ndarray], Array] | None = None) -> Callable[[str, np.ndarray], Any]:
    """Makes what `checkpoint.load_params` takes to cut the decoder's layers while it loads, one stack at a time.

    So the layers are never there twice, stacked and cut.

    Args:
      place: puts an array on its devices; None is JAX's default device.
    """

    def place_and_cut(name: str, array: np.ndarray) -> Any:
        placed = place(name, array) if place else jax.device_put(array)
        return _layers_of(placed) if name.startswith("model/decoder/layers/") else placed

    return place_and_cut


def _is_cut(leaf):
    return isinstance(leaf, tuple)


def _layers_of(leaf):
    return leaf if _is_cut(leaf) else tuple(_cut(leaf, i) for i in range(len(leaf)))


@jax.jit
def _cut(stacked, i):
    return stacked[i].T


@jax.jit
def _turned(kernels):
    """Kernels the other way round; norms, which have one axis, as they are."""
    return jax.tree.map(jnp.transpose, kernels)


def prefill(
    config: DalleBartConfig, weights: DecoderWeights, states: Float[Array, "R T D"], text_mask: Bool[Array, "R T"]
) -> DecodeState:
    """Makes the state before the first code from encoder states."""
    rows = states.shape[0]
    table = whole_table(config, rows)
    return DecodeState(
        position=jnp.zeros(rows, jnp.int32),
        cache=empty_cache(config, table.row.shape[0], block_size(config), states.dtype),
        table=table,
        text=text_keys_values(config, weights, states),
        text_mask=text_mask,
    )


def text_keys_values(
    config: DalleBartConfig, weights: DecoderWeights, states: Float[Array, "R T D"]
) -> tuple[KeysValues, ...]:
    """What the layers look at of a text: the same for all of its images, at every position."""
    layer = DecoderLayer(*config.decoder_sizes)
    _, layers = weights.published()
    return tuple(layer.bind({"params": params}).text_keys_values(states) for params in layers)


def block_size(config: DalleBartConfig) -> int:
    """S: positions of a block."""
    return -(-config.image_length // PARTS)


def blocks_for(config: DalleBartConfig, length: int) -> int:
    """How many blocks a row needs for its first `length` positions."""
    return -(-length // block_size(config))


def whole_table(config: DalleBartConfig, rows: int) -> BlockTable:
    """Every row has blocks for a whole image."""
    parts = blocks_for(config, config.image_length)
    blocks = jnp.arange(rows * parts)
    return BlockTable(blocks=blocks.reshape(rows, parts), row=blocks // parts, part=blocks % parts)


def empty_cache(config: DalleBartConfig, count: int, length: int, dtype: Any) -> tuple[KeysValues, ...]:
    """So many blocks, or rows, of so many positions for each layer, with nothing in them."""
    heads = config.decoder_attention_heads
    shape = (count, heads, length, config.d_model // heads)
    return tuple(
        KeysValues(keys=jnp.zeros(shape, dtype), values=jnp.zeros(shape, dtype)) for _ in range(config.decoder_layers)
    )


def read_prefix(
    config: DalleBartConfig,
    weights: DecoderWeights,
    text: tuple[KeysValues, ...],
    text_mask: Bool[Array, "R T"],
    codes: Int[Array, "R L"],
) -> tuple[KeysValues, ...]:
    """What the cache holds after steps 0…L-1, which feed the start token and all of `codes` but the last; in one pass.

    The blocks are those of `whole_table`; those that the steps do not come to are empty.
    Entries from a position on do not depend on what `codes` says there and later.
    """
    shared, layers = weights.published()
    network = DalleBart(config).bind({"params": shared})
    layer = DecoderLayer(*config.decoder_sizes)
    rows, length = codes.shape
    fed = jnp.concatenate([jnp.full((rows, 1), config.decoder_start_token_id), codes[:, :-1]], axis=1)
    x = network.embed_codes(fed, jnp.broadcast_to(jnp.arange(length), fed.shape))  # [R, L, D]
    cache = []
    for layer_weights, kept in zip(layers, text, strict=True):
        x, seen = layer.bind({"params": layer_weights}).read(x, kept, text_mask[:, None, None])
        cache.append(jax.tree.map(partial(_in_blocks, config), seen))
    return tuple(cache)


def _in_blocks(config, leaf):
    rows, heads, length, head_size = leaf.shape
    parts, size = blocks_for(config, config.image_length), block_size(config)
    whole = jnp.pad(leaf, ((0, 0), (0, 0), (0, parts * size - length), (0, 0)))
    return whole.reshape(rows, heads, parts, size, head_size).swapaxes(1, 2).reshape(-1, heads, size, head_size)


def decode_step(
    config: DalleBartConfig, weights: DecoderWeights, state: DecodeState, codes: Int[Array, " R"]
) -> tuple[Float[Array, "R V"], DecodeState]:
    """Feeds each row the id at its position; returns float32 logits of the next code, and the state one further on.

    Args:
      codes: the id at `state.position` of each row: the start token at 0, then the code drawn before.
    """
    shared, layers = weights.published()
    network = DalleBart(config).bind({"params": shared})
    layer = DecoderLayer(*config.decoder_sizes)
    x = network.embed_codes(codes[:, None], state.position[:, None])  # [R, 1, D]
    text_mask = state.text_mask[:, None, None]
    cache = []
    for layer_weights, kept, text in zip(layers, state.cache, state.text, strict=True):
        x, kept = layer.bind({"params": layer_weights}).step(x, kept, state.table, state.position, text, text_mask)
        cache.append(kept)
    return network.head(x)[:, 0], replace(state, position=state.position + 1, cache=tuple(cache))
