"""DalleBart: text tokens to encoder states, codes to logits, text to image codes.

Knows nothing of files, tokenizers or pixels. Pure functions of (config, params, arrays); params is the tree of the
published checkpoints with the layers stacked, and its dtype is the dtype of the computation.

After dalle-mini 0.1.5 (github.com/borisdayma/dalle-mini), whose encoder states, logits and codes it reproduces.
"""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model_core.errors import InvalidValue
from model_core.families.dalle_bart.config import DalleBartConfig, read_config
from model_core.families.dalle_bart.decoder import DecoderWeights, decoder_weights
from model_core.families.dalle_bart.layout import layout
from model_core.families.dalle_bart.network import DalleBart
from model_core.families.dalle_bart.sharding import CUT_AXES
from model_core.sampler.decode_loop import Drawing, advance, has_guidance, start
from model_core.sampler.sampling import PerImage, SamplingParams, sampling_params
from model_core.weights.weight_files import FLAX_WEIGHTS

__all__ = [
    "CUT_AXES",
    "WEIGHTS",
    "DalleBartConfig",
    "DecoderWeights",
    "Drawing",
    "SamplingParams",
    "advance",
    "decoder_weights",
    "encode",
    "forward",
    "generate",
    "half_of",
    "init_params",
    "layout",
    "logits",
    "param_shapes",
    "read_config",
    "sampling_params",
    "start",
]

Params = dict[str, Any]
AnyArray = Array | np.ndarray
TextTokens = Int[AnyArray, "B T"]
TextMask = Int[AnyArray, "B T"]

WEIGHTS = (FLAX_WEIGHTS,)


def half_of(name: str) -> Literal["encoder", "decoder"]:
    """Says which half of the network needs an array, by its name; the head goes with the decoder."""
    return "encoder" if name.startswith("model/encoder/") else "decoder"


def init_params(config: DalleBartConfig, key: Array) -> Params:
    """Fresh float32 parameters, as the reference initialises them."""
    tokens = jnp.zeros((1, 1), jnp.int32)
    return dict(DalleBart(config).init(key, tokens, tokens == 0, tokens)["params"])


def param_shapes(config: DalleBartConfig) -> dict[str, Any]:
    """Names, shapes and (float32) dtypes of the parameters, as nested dicts of `jax.ShapeDtypeStruct`."""
    return jax.eval_shape(partial(init_params, config), jax.random.key(0))


def encode(
    config: DalleBartConfig, params: Params, text_tokens: TextTokens, text_mask: TextMask, *, remat: bool = False
) -> Float[Array, "B T D"]:
    """Turns text tokens into encoder states. Padded positions get states too; nothing attends to them.

    Args:
      text_tokens: T at most `config.max_text_length`.
      text_mask: 1 = real token, 0 = padding.
      remat: trade compute for memory in the backward pass.

    Raises:
      InvalidValue: the text is too long, or mask and tokens differ in shape.
    """
    _check_text(config, text_tokens, text_mask)
    return _encode(config, remat, params, text_tokens, text_mask)


@partial(jax.jit, static_argnums=(0, 1))
def _encode(config, remat, params, text_tokens, text_mask):
    return DalleBart(config, remat).bind({"params": params}).encode(text_tokens, text_mask.astype(bool))


def logits(
    config: DalleBartConfig,
    params: Params,
    decoder_codes: Int[AnyArray, "B L"],
    states: Float[AnyArray, "B T D"],
    text_mask: TextMask,
    *,
    remat: bool = False,
) -> Float[Array, "B L V"]:
    """Scores the next code at each of L positions at once, in float32, unmasked and without guidance.

    Args:
      decoder_codes: the start token, then codes; L at most `config.image_length`.
      states: of `encode`, with its `text_mask`.
      remat: trade compute for memory in the backward pass.

    Raises:
      InvalidValue: more codes than an image has.
    """
    if decoder_codes.shape[1] > config.image_length:
        raise InvalidValue(
            f"decoder_codes has {decoder_codes.shape[1]} positions; an image of this model has {config.image_length}.",
            "decoder_codes",
        )
    return _logits(config, remat, params, decoder_codes, states, text_mask)


@partial(jax.jit, static_argnums=(0, 1))
def _logits(config, remat, params, decoder_codes, states, text_mask):
    return DalleBart(config, remat).bind({"params": params}).logits(decoder_codes, states, text_mask.astype(bool))


def forward(
    config: DalleBartConfig,
    params: Params,
    text_tokens: TextTokens,
    text_mask: TextMask,
    decoder_codes: Int[AnyArray, "B L"],
    *,
    remat: bool = False,
) -> Float[Array, "B L V"]:
    """`encode`, then `logits`: what training differentiates."""
    states = encode(config, params, text_tokens, text_mask, remat=remat)
    return logits(config, params, decoder_codes, states, text_mask, remat=remat)


def generate(
    config: DalleBartConfig,
    params: Params,
    text_tokens: TextTokens,
    text_mask: TextMask,
    text_tokens_uncond: TextTokens | None,
    text_mask_uncond: TextMask | None,
    *,
    guidance_scale: PerImage = 10.0,
    temperature: PerImage = 1.0,
    top_k: PerImage = 0,
    top_p: PerImage = 1.0,
    seeds: Any = None,
    gumbel: Float[AnyArray, "B N V"] | None = None,
    greedy: bool = False,
    num_codes: int | None = None,
) -> Int[Array, "B N"]:
    """Draws the codes of one image per text.

    Order: guidance, eos set to -inf, temperature, top_k, top_p, draw. The sampling parameters are scalars or hold one
    value per image; changing them does not recompile. An image depends on its own row alone, not on its batch.

    Args:
      text_tokens_uncond: of the empty or negative prompt. It and its mask may be None where no image is guided.
      guidance_scale: 1.0 = no guidance.
      temperature: above 0.
      top_k: 0 = off. The reference's default is its configuration's 50.
      top_p: above 0, at most 1; 1.0 = off.
      seeds: one integer in 0…2³²−1 per image; position p draws with fold_in(key(seed, impl="threefry2x32"), p).
      gumbel: noise to use in place of the seeds: code i is argmax(warped logits + gumbel[:, i]).
      greedy: take the likeliest code of the guided logits.
      num_codes: ids from here on are never drawn; `config.image_vocab_size` if not given.

    Raises:
      InvalidValue: a parameter is out of range or of the wrong shape.
    """
    batch = text_tokens.shape[0]
    noise_shape = (batch, config.image_length, config.logits_width)
    if gumbel is not None and gumbel.shape != noise_shape:
        raise InvalidValue(f"gumbel has the shape {gumbel.shape}; it must have {noise_shape}.", "gumbel")
    how = sampling_params(
        batch,
        guidance_scale=guidance_scale,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seeds=np.zeros(batch, np.uint32) if seeds is None and (greedy or gumbel is not None) else seeds,
        greedy=greedy,
        num_codes=config.image_vocab_size if num_codes is None else num_codes,
    )
    states = encode(config, params, text_tokens, text_mask)
    states_uncond = None
    if has_guidance(how) and text_tokens_uncond is not None and text_mask_uncond is not None:
        states_uncond = encode(config, params, text_tokens_uncond, text_mask_uncond)
    weights = decoder_weights(params)
    drawing = start(config, weights, states, text_mask, states_uncond, text_mask_uncond, how)
    return advance(config, weights, drawing, config.image_length, gumbel).codes[:batch]


def _check_text(config, text_tokens, text_mask):
    if text_tokens.shape[1] > config.max_text_length:
        raise InvalidValue(
            f"text_tokens has {text_tokens.shape[1]} positions; this model reads {config.max_text_length}.",
            "text_tokens",
        )
    if text_tokens.shape != text_mask.shape:
        raise InvalidValue(
            f"text_mask has the shape {text_mask.shape}; text_tokens {text_tokens.shape}. They must agree.", "text_mask"
        )
