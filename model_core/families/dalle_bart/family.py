"""DalleBart, the family of DALL·E mini and mega: text tokens to encoder states, states and codes to logits.

Pure functions of (config, params, arrays); params is the tree of the published checkpoints with the layers stacked, and
its dtype is the dtype of the computation. As a family (`families.protocol`) its conditions are encoder states.

After dalle-mini 0.1.5 (github.com/borisdayma/dalle-mini), whose encoder states, logits and codes it reproduces.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model_core.errors import InvalidValue
from model_core.families.conditions import Role
from model_core.families.dalle_bart.config import DalleBartConfig, read_config
from model_core.families.dalle_bart.dropout import RNG, dropping
from model_core.families.dalle_bart.layout import layout
from model_core.families.dalle_bart.network import DalleBart
from model_core.families.dalle_bart.sharding import CUT_AXES
from model_core.families.dalle_bart.step import cutting, empty, prefill, read_text, step, step_numbers, step_weights
from model_core.families.dalle_bart.text import open_text
from model_core.weights.weight_files import FLAX_WEIGHTS

__all__ = [
    "CUT_AXES",
    "WEIGHTS",
    "DalleBartConfig",
    "cutting",
    "decoder_logits",
    "empty",
    "encode",
    "forward",
    "init_params",
    "layout",
    "logits",
    "open_text",
    "param_shapes",
    "prefill",
    "read_config",
    "read_text",
    "role_of",
    "step",
    "step_numbers",
    "step_weights",
]

WEIGHTS: tuple[str, ...] = (FLAX_WEIGHTS,)

Params = dict[str, Any]
AnyArray = Array | np.ndarray
TextTokens = Int[AnyArray, "B T"]
TextMask = Int[AnyArray, "B T"]


def init_params(config: DalleBartConfig, key: Array) -> Params:
    """Fresh float32 parameters, as the reference initialises them."""
    tokens = jnp.zeros((1, 1), jnp.int32)
    return dict(DalleBart(config).init(key, tokens, tokens == 0, tokens)["params"])


def param_shapes(config: DalleBartConfig) -> dict[str, Any]:
    """Names, shapes and (float32) dtypes of the parameters, as nested dicts of `jax.ShapeDtypeStruct`."""
    return jax.eval_shape(partial(init_params, config), jax.random.key(0))


def role_of(name: str) -> Role:
    """Which part of a model needs a parameter: what reads texts is the encoder, what draws codes all else."""
    return "text" if name.startswith("model/encoder/") else "sampler"


@partial(jax.jit, static_argnums=0)
def encode(
    config: DalleBartConfig, params: Params, text_tokens: TextTokens, text_mask: TextMask
) -> Float[Array, "B T D"]:
    """Turns text tokens into encoder states. Padded positions get states too; nothing attends to them.

    Args:
      text_tokens: T at most `config.max_text_length`.
      text_mask: 1 = real token, 0 = padding.

    Raises:
      InvalidValue: the text is too long, or mask and tokens differ in shape.
    """
    return _encode(DalleBart(config).bind({"params": params}), text_tokens, text_mask)


def logits(
    config: DalleBartConfig,
    params: Params,
    values: Float[AnyArray, "B T D"],
    mask: TextMask,
    codes: Int[AnyArray, "B L"],
) -> Float[Array, "B L+1 C"]:
    """Scores every code of images given those before it: row i is for code i. Raises as `decoder_logits`."""
    fed = jnp.pad(jnp.asarray(codes), ((0, 0), (1, 0)), constant_values=config.decoder_start_token_id)
    return decoder_logits(config, params, fed, values, mask)[..., : config.image_vocab_size]


@partial(jax.jit, static_argnums=0)
def decoder_logits(
    config: DalleBartConfig,
    params: Params,
    decoder_codes: Int[AnyArray, "B L"],
    states: Float[AnyArray, "B T D"],
    text_mask: TextMask,
) -> Float[Array, "B L V"]:
    """The same as the network has it: over all V ids, for a start token and the codes behind it.

    Args:
      decoder_codes: L at most `config.image_length`.

    Raises:
      InvalidValue: more codes than an image has.
    """
    return _decoder_logits(DalleBart(config).bind({"params": params}), decoder_codes, states, text_mask)


@partial(jax.jit, static_argnums=0, static_argnames=("remat", "dropout", "activation_dropout"))
def forward(
    config: DalleBartConfig,
    params: Params,
    text_tokens: TextTokens,
    text_mask: TextMask,
    decoder_codes: Int[AnyArray, "B L"],
    *,
    positions: Int[AnyArray, "B L"] | None = None,
    key: Array | None = None,
    remat: bool = False,
    dropout: float = 0.0,
    activation_dropout: float = 0.0,
) -> Float[Array, "B L V"]:
    """`encode`, then `decoder_logits`: what training differentiates.

    Args:
      positions: where in the image each of `decoder_codes` is fed, rising; None: at the first L.
      key: of the noise of dropout; needed where there is any.
      remat: trade compute for memory in the backward pass.
      dropout, activation_dropout: shares that are dropped, where `dalle_bart.dropout` says.
    """
    rngs = {} if key is None else {RNG: key}
    network = DalleBart(config, remat).bind({"params": params}, rngs=rngs)
    with dropping(dropout, activation_dropout):
        states = _encode(network, text_tokens, text_mask)
        return _decoder_logits(network, decoder_codes, states, text_mask, positions)


def _encode(network: DalleBart, text_tokens: TextTokens, text_mask: TextMask) -> Float[Array, "B T D"]:
    if text_tokens.shape[1] > (most := network.config.max_text_length):
        raise InvalidValue(f"text_tokens has {text_tokens.shape[1]} positions; this model reads {most}.", "text_tokens")
    if text_tokens.shape != text_mask.shape:
        raise InvalidValue(
            f"text_mask has the shape {text_mask.shape}; text_tokens {text_tokens.shape}. They must agree.", "text_mask"
        )
    return network.encode(jnp.asarray(text_tokens), jnp.asarray(text_mask, bool))


def _decoder_logits(
    network: DalleBart,
    decoder_codes: Int[AnyArray, "B L"],
    states: Float[AnyArray, "B T D"],
    text_mask: TextMask,
    positions: Int[AnyArray, "B L"] | None = None,
) -> Float[Array, "B L V"]:
    if decoder_codes.shape[1] > (most := network.config.image_length):
        raise InvalidValue(
            f"There are {decoder_codes.shape[1]} positions to score; an image of this model has {most}.", "codes"
        )
    where = None if positions is None else jnp.asarray(positions)
    return network.logits(jnp.asarray(decoder_codes), jnp.asarray(states), jnp.asarray(text_mask, bool), where)
