"""A batch of images drawn together, code by code, from the first to the last: the static driver of `decode_step`.

Knows nothing of prompts, text encoding or pixels.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from model_core.dalle_bart_network import DalleBartConfig
from model_core.decoding import DecoderWeights, DecodeState, decode_step, prefill
from model_core.errors import InvalidValue
from model_core.sampling import SamplingParams, draw

AnyArray = Array | np.ndarray


@struct.dataclass
class Drawing:
    """B images on their way.

    Attributes:
      state: of B decoder rows, or of 2·B where there is guidance: first the conditional, then the unconditional ones.
      codes: drawn so far; what lies at and after an image's position is still to come.
      sampling: how each image is drawn.
    """

    state: DecodeState
    codes: Int[Array, "B N"]
    sampling: SamplingParams


def start(
    config: DalleBartConfig,
    weights: DecoderWeights,
    states: Float[AnyArray, "B T D"],
    text_mask: Int[AnyArray, "B T"],
    states_uncond: Float[AnyArray, "B T D"] | None,
    text_mask_uncond: Int[AnyArray, "B T"] | None,
    sampling: SamplingParams,
) -> Drawing:
    """Takes encoder states to images of which no code is drawn yet.

    Where every guidance scale is 1 the unconditional half is not used, may be None, and takes no rows: there are two
    compiled programs for each batch size, one with guidance and one without.

    Raises:
      InvalidValue: there is guidance, but nothing unconditional or only something of another shape.
    """
    if has_guidance(sampling):
        if states_uncond is None or text_mask_uncond is None:
            raise InvalidValue("Guidance needs an unconditional text; give one, or a scale of 1.", "guidance_scale")
        if states_uncond.shape != states.shape:
            raise InvalidValue(
                f"The unconditional states have the shape {states_uncond.shape}; those of the prompt {states.shape}."
            )
        states = jnp.concatenate([states, states_uncond])
        text_mask = jnp.concatenate([text_mask, text_mask_uncond])
    return _start(config, weights, states, text_mask, sampling)


def advance(
    config: DalleBartConfig,
    weights: DecoderWeights,
    drawing: Drawing,
    steps: int,
    gumbel: Float[AnyArray, "B N V"] | None = None,
) -> Drawing:
    """Draws the next `steps` codes of every image. `drawing` is used up: its buffers move on to the result.

    Args:
      steps: with those before, at most `config.image_length`.
      gumbel: noise of all N positions, to use in place of the seeds'.
    """
    for _ in range(steps):
        drawing = _draw_next(config, weights, drawing, gumbel)
    return drawing


def has_guidance(sampling: SamplingParams) -> bool:
    """Whether any image of the batch needs unconditional logits."""
    return bool((sampling.guidance_scale != 1).any())


@partial(jax.jit, static_argnums=0)
def _start(config, weights, states, text_mask, sampling):
    codes = jnp.zeros((sampling.seed.shape[0], config.image_length), jnp.int32)
    return Drawing(state=prefill(config, weights, states, text_mask.astype(bool)), codes=codes, sampling=sampling)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _draw_next(config, weights, drawing, gumbel):
    images = jnp.arange(drawing.codes.shape[0])
    position = drawing.state.position[: images.size]
    before = drawing.codes[images, position - 1]
    before = jnp.where(position == 0, config.decoder_start_token_id, before)
    branches = drawing.state.position.size // images.size  # 2 with guidance, else 1
    logits, state = decode_step(config, weights, drawing.state, jnp.tile(before, branches))
    conditional, unconditional = jnp.split(logits, branches) if branches == 2 else (logits, None)
    codes = draw(
        drawing.sampling,
        conditional,
        unconditional,
        position,
        eos_token_id=config.eos_token_id,
        gumbel=None if gumbel is None else gumbel[images, position],
    )
    return replace(drawing, state=state, codes=drawing.codes.at[images, position].set(codes))
