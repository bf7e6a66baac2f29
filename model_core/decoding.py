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
      cache: per layer, keys and values [R, H, N, K] of the positions before `position`; what lies beyond is never read.
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
    leaves = jax.tree.leaves(stacked)
    on_cpu = all(device.platform == "cpu" for leaf in leaves for device in jnp.asarray(leaf).devices())
    cut = _view if on_cpu else lambda leaf, i: jnp.asarray(leaf)[i]
    return tuple(jax.tree.map(lambda leaf, i=i: cut(leaf, i), stacked) for i in range(len(leaves[0])))


def _view(leaf, i):
    """One layer out of a stack in the CPU's memory: numpy sees that memory, and XLA takes it over where aligned."""
    return jax.device_put(np.asarray(leaf)[i])


def prefill(
    config: DalleBartConfig, weights: DecoderWeights, states: Float[Array, "R T D"], text_mask: Bool[Array, "R T"]
) -> DecodeState:
    """Makes the state before the first code from encoder states."""
    layer = DecoderLayer(*config.decoder_sizes)
    text = tuple(layer.bind({"params": w}).text_keys_values(states) for w in weights.layers)
    rows = states.shape[0]
    heads, head_size = config.decoder_attention_heads, config.d_model // config.decoder_attention_heads
    empty = jnp.zeros((rows, heads, config.image_length, head_size), states.dtype)
    return DecodeState(
        position=jnp.zeros(rows, jnp.int32),
        cache=tuple(KeysValues(keys=empty, values=empty) for _ in weights.layers),
        text=text,
        text_mask=text_mask,
    )


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
