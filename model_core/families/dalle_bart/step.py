"""A few codes at a time: the decoder's cached step, and what it carries from one position to the next.

Rows are independent, each at its own position. Layers run unrolled over weights cut out of the stack once: inside a
scan over stacked weights, XLA's CPU backend copies every layer's weights at every step. The modules are those of the
full forward pass. What the functions that a family offers promise stands in `families.protocol`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Shaped

from model_core.families.conditions import StepNumbers
from model_core.families.dalle_bart.layers import DecoderLayer
from model_core.families.dalle_bart.network import DalleBart, DalleBartConfig
from model_core.families.keys_values import Cache, KeysValues, empty_cache, write
from model_core.families.linear import fused, turned

AnyArray = Array | np.ndarray


@struct.dataclass
class StepWeights:
    """The decoder's parameters as the cached step reads them fastest.

    Attributes:
      shared: the published tree without the encoder and without the decoder's layers; embeddings are not copied.
      layers: one tree per layer, cut out of the stacked layers.
      is_turned: kernels lie [out, in], for CPUs; else what reads the same input is one kernel.
    """

    shared: Any
    layers: tuple[Any, ...]
    is_turned: bool = struct.field(pytree_node=False)

    def unpacked(self) -> tuple[Any, list[Any]]:
        """Both as modules take them, kernels [in, out]; to be called inside `jit`."""
        if not self.is_turned:
            return self.shared, list(self.layers)
        return self.shared | {"lm_head": turned(self.shared["lm_head"])}, [turned(layer) for layer in self.layers]


@struct.dataclass
class Text:
    """What the layers look at of R texts: made once for each text, and shared by all of its images.

    Attributes:
      keys_values: per layer, [R, H, T, K].
      mask: which positions are real.
    """

    keys_values: tuple[KeysValues, ...]
    mask: Bool[Array, "R T"]


@struct.dataclass
class State:
    """What R rows carry from one position to the next. A row is one code sequence under one text.

    Attributes:
      text: of each row.
      cache: per layer, keys and values [R, H, N, K] in parts; what lies at a row's position and beyond is never read.
    """

    text: Text
    cache: tuple[Cache, ...]


def step_weights(params: Any, *, is_turned: bool | None = None) -> StepWeights:
    """Cuts `params` (the published tree, layers stacked) into what `prefill` and `step` take.

    Make it once and drop `params` where nothing else needs them: layers and head are copies. Layers that `cutting` has
    cut already are taken as they are.

    Args:
      is_turned: the layout; None takes the one for the device that holds `params`. Over several devices nothing is
        fused, so that heads stay whole on one of them.
    """
    decoder = dict(params["model"]["decoder"])
    layers = jax.tree.map(_layers_of, decoder.pop("layers")["FlaxBartDecoderLayers"], is_leaf=_is_cut)
    num_layers = len(jax.tree.leaves(layers, is_leaf=_is_cut)[0])
    cut = [jax.tree.map(lambda leaf, i=i: leaf[i], layers, is_leaf=_is_cut) for i in range(num_layers)]
    if is_turned is None:
        kernel = params["lm_head"]["kernel"]
        is_on_device = isinstance(kernel, jax.Array) and not isinstance(kernel, Tracer)
        devices = kernel.devices() if is_on_device else jax.devices()[:1]
        is_turned = len(devices) > 1 or all(device.platform == "cpu" for device in devices)
    head = params["lm_head"]
    return StepWeights(
        shared={
            "model": {"decoder": jax.tree.map(jnp.asarray, decoder)},
            "lm_head": turned(head) if is_turned else jax.tree.map(jnp.asarray, head),
        },
        layers=tuple(cut if is_turned else (_fused(turned(layer)) for layer in cut)),
        is_turned=is_turned,
    )


def _fused(layer: Any) -> Any:
    return layer | {
        "FlaxBartAttention_0": fused(layer["FlaxBartAttention_0"], "qkv_proj", ("q_proj", "k_proj", "v_proj")),
        "GLU_0": fused(layer["GLU_0"], "Dense_01", ("Dense_0", "Dense_1")),
    }


def cutting(place: Callable[[str, np.ndarray], Array] | None = None) -> Callable[[str, np.ndarray], Any]:
    """Makes what `load_params` takes to cut the decoder's layers while it loads, one stack at a time.

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


def read_text(
    config: DalleBartConfig, weights: StepWeights, values: Float[AnyArray, "R T D"], mask: Shaped[AnyArray, "R T"]
) -> Text:
    """Encoder states become keys and values of every layer."""
    states = jnp.asarray(values, weights.shared["lm_head"]["kernel"].dtype)
    made = tuple(layer.text_keys_values(states) for layer in _modules(config, weights)[1])
    return Text(keys_values=made, mask=jnp.asarray(mask, bool))


def _modules(config: DalleBartConfig, weights: StepWeights) -> tuple[DalleBart, list[DecoderLayer]]:
    """The network without its layers, and the decoder's layers, with their parameters."""
    shared, layers = weights.unpacked()
    layer = DecoderLayer(*config.decoder_sizes, not weights.is_turned)
    return DalleBart(config).bind({"params": shared}), [layer.bind({"params": params}) for params in layers]


def empty(config: DalleBartConfig, weights: StepWeights, rows: int, parts: int = 1) -> State:
    """The state of rows that nobody has."""
    of_text = tuple(kept for (kept,) in _no_keys_values(config, weights, rows, config.max_text_length))
    text = Text(keys_values=of_text, mask=jnp.ones((rows, config.max_text_length), bool))
    return State(text=text, cache=_no_keys_values(config, weights, rows, config.image_length, parts))


def _no_keys_values(config, weights, rows, length, parts=1):
    """For every layer, in parts."""
    heads, dtype = config.decoder_attention_heads, weights.shared["lm_head"]["kernel"].dtype
    size = config.d_model // heads
    return tuple(empty_cache(rows, heads, length, size, dtype, parts) for _ in range(config.decoder_layers))


def prefill(
    config: DalleBartConfig, weights: StepWeights, text: Text, codes: Int[AnyArray, "R L"], parts: int = 1
) -> State:
    """The state after steps 0…L-1, which feed the start token and all of `codes` but the last, in one pass."""
    rows, length = codes.shape
    empty_cache = _no_keys_values(config, weights, rows, config.image_length, parts)
    if length == 0:
        return State(text=text, cache=empty_cache)
    network, layers = _modules(config, weights)
    fed = jnp.pad(jnp.asarray(codes)[:, :-1], ((0, 0), (1, 0)), constant_values=config.decoder_start_token_id)
    x = network.embed_codes(fed, jnp.broadcast_to(jnp.arange(length), fed.shape))  # [R, L, D]
    start, cache = jnp.zeros(rows, jnp.int32), []
    for layer, kept, empty_parts in zip(layers, text.keys_values, empty_cache, strict=True):
        x, seen = layer.read(x, kept, text.mask[:, None, None])
        cache.append(write(empty_parts, seen, start))
    return State(text=text, cache=tuple(cache))


def step(
    config: DalleBartConfig,
    weights: StepWeights,
    state: State,
    codes: Int[AnyArray, "R L"],
    position: Int[AnyArray, " R"],
    reach: int,
) -> tuple[Float[Array, "R L C"], State]:
    """Scores the codes at L positions of each row, from `position` on, and keeps what later positions need."""
    network, layers = _modules(config, weights)
    position = jnp.asarray(position)
    places = position[:, None] + jnp.arange(codes.shape[1])  # [R, L]
    fed = jnp.where(places == 0, config.decoder_start_token_id, codes)
    x = network.embed_codes(fed, places)  # [R, L, D]
    text_mask = state.text.mask[:, None, None]
    cache = []
    for layer, kept, text in zip(layers, state.cache, state.text.keys_values, strict=True):
        x, kept = layer.step(x, kept, position, reach, text, text_mask)
        cache.append(kept)
    logits = network.head(x)[..., : config.image_vocab_size]
    if config.eos_token_id < config.image_vocab_size:
        logits = logits.at[..., config.eos_token_id].set(-jnp.inf)
    return logits, replace(state, cache=tuple(cache))


def step_numbers(config: DalleBartConfig) -> StepNumbers:
    """What a step reads at least. Embeddings, norms and what is written are too little to count."""
    width, layers = config.d_model, config.decoder_layers
    attention = 6 * width**2  # query, key, value, out of the codes; query, out of the text, whose rest is kept
    feed_forward = 3 * width * config.decoder_ffn_dim
    return StepNumbers(
        weights=layers * (attention + feed_forward) + width * config.logits_width,
        text=layers * 2 * width * config.max_text_length,
        per_code=layers * 2 * width,
    )
