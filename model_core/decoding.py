"""Codes one at a time: the decoder's cached step and the state that it carries.

Knows nothing of sampling, of guidance, or of who drives it: rows are independent, each at its own position.

Layers run unrolled over weights cut out of the stack once: inside a scan over stacked weights, XLA's CPU backend
copies every layer's weights at every step. The modules are those of the full forward pass.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from model_core.dalle_bart_network import DalleBart, DalleBartConfig
from model_core.layers import DecoderLayer, KeysValues


@struct.dataclass
class DecoderWeights:
    """The decoder's parameters as the cached step reads them.

    Attributes:
      shared: the published tree without the encoder and without the decoder's layers; the same buffers, not copies.
      layers: one tree per layer, cut out of the stacked layers. On a CPU they share the stack's memory (but for
        leaves too small to be aligned); elsewhere they are copies, together as large as the stack.
    """

    shared: Any
    layers: tuple[Any, ...]


@struct.dataclass
class DecodeState:
    """All that R rows carry from one position to the next. A row is one code sequence under one text.

    Attributes:
      position: the place of the id that each row feeds next; 0 takes the start token. At most N - 1.
      cache: per layer, keys and values [R, H, S, K] of the positions before `position`; what lies beyond is never read.
        S may be less than N as long as every position is below it: a step takes time for all S.
      text: per layer, keys and values [R, H, T, K] of the encoder states.
      text_mask: which of the T text positions are real.
    """

    position: Int[Array, " R"]
    cache: tuple[KeysValues, ...]
    text: tuple[KeysValues, ...]
    text_mask: Bool[Array, "R T"]


def decoder_weights(params: Any) -> DecoderWeights:
    """Cuts `params` (the published tree, layers stacked) into what `prefill` and `decode_step` take.

    Make it once and drop `params` where nothing else needs them: it keeps alive what it needs.
    """
    decoder = dict(params["model"]["decoder"])
    stacked = decoder.pop("layers")["FlaxBartDecoderLayers"]
    shared = {"model": {"decoder": decoder}, "lm_head": params["lm_head"]}
    return DecoderWeights(shared=jax.tree.map(jnp.asarray, shared), layers=_unstack(stacked))


def _unstack(stacked):
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(stacked)]
    on_one_cpu = all(leaf.is_fully_addressable and len(leaf.devices()) == 1 for leaf in leaves) and all(
        device.platform == "cpu" for leaf in leaves for device in leaf.devices()
    )
    cut = _view if on_one_cpu else lambda leaf, i: jnp.asarray(leaf)[i]
    return tuple(jax.tree.map(lambda leaf, i=i: cut(leaf, i), stacked) for i in range(len(leaves[0])))


def _view(leaf, i):
    """One layer out of a stack in the CPU's memory: numpy sees that memory, and XLA takes it over where aligned."""
    return jax.device_put(np.asarray(leaf)[i])


def prefill(
    config: DalleBartConfig, weights: DecoderWeights, states: Float[Array, "R T D"], text_mask: Bool[Array, "R T"]
) -> DecodeState:
    """Makes the state before the first code from encoder states."""
    rows = states.shape[0]
    return DecodeState(
        position=jnp.zeros(rows, jnp.int32),
        cache=empty_cache(config, rows, config.image_length, states.dtype),
        text=text_keys_values(config, weights, states),
        text_mask=text_mask,
    )


def text_keys_values(
    config: DalleBartConfig, weights: DecoderWeights, states: Float[Array, "R T D"]
) -> tuple[KeysValues, ...]:
    """What the layers look at of a text: the same for all of its images, at every position."""
    layer = DecoderLayer(*config.decoder_sizes)
    return tuple(layer.bind({"params": w}).text_keys_values(states) for w in weights.layers)


def empty_cache(config: DalleBartConfig, rows: int, length: int, dtype: Any) -> tuple[KeysValues, ...]:
    """A cache for so many rows and positions, with nothing in it."""
    heads, head_size = config.decoder_attention_heads, config.d_model // config.decoder_attention_heads
    shape = (rows, heads, length, head_size)
    return tuple(
        KeysValues(keys=jnp.zeros(shape, dtype), values=jnp.zeros(shape, dtype)) for _ in range(config.decoder_layers)
    )


def read_prefix(
    config: DalleBartConfig,
    weights: DecoderWeights,
    text: tuple[KeysValues, ...],
    text_mask: Bool[Array, "R T"],
    codes: Int[Array, "R P"],
) -> tuple[KeysValues, ...]:
    """What the cache holds after steps 0…P-1, which feed the start token and all of `codes` but the last; in one pass.

    Entries from a position on do not depend on what `codes` says there and later.
    """
    network = DalleBart(config).bind({"params": weights.shared})
    layer = DecoderLayer(*config.decoder_sizes)
    rows, length = codes.shape
    fed = jnp.concatenate([jnp.full((rows, 1), config.decoder_start_token_id), codes[:, :-1]], axis=1)
    x = network.embed_codes(fed, jnp.broadcast_to(jnp.arange(length), fed.shape))  # [R, P, D]
    cache = []
    for layer_weights, kept in zip(weights.layers, text, strict=True):
        x, seen = layer.bind({"params": layer_weights}).read(x, kept, text_mask[:, None, None])
        cache.append(seen)
    return tuple(cache)


def decode_step(
    config: DalleBartConfig, weights: DecoderWeights, state: DecodeState, codes: Int[Array, " R"]
) -> tuple[Float[Array, "R V"], DecodeState]:
    """Feeds each row the id at its position; returns float32 logits of the next code, and the state one further on.

    Args:
      codes: the id at `state.position` of each row: the start token at 0, then the code drawn before.
    """
    network = DalleBart(config).bind({"params": weights.shared})
    layer = DecoderLayer(*config.decoder_sizes)
    x = network.embed_codes(codes[:, None], state.position[:, None])  # [R, 1, D]
    text_mask = state.text_mask[:, None, None]
    cache = []
    for layer_weights, kept, text in zip(weights.layers, state.cache, state.text, strict=True):
        x, kept = layer.bind({"params": layer_weights}).step(x, kept, state.position, text, text_mask)
        cache.append(kept)
    return network.head(x)[:, 0], replace(state, position=state.position + 1, cache=tuple(cache))
