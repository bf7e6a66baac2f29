"""Rows of image codes, drawn one code a step: the step that every driver of `decode_step` makes, and the static driver.

An image under guidance is two rows, which take the same codes under different texts; without guidance it is one. The
static driver starts a batch of images together and ends them together; the engine moves rows in and out between steps.
Knows nothing of prompts, text encoding or pixels.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from model_core.errors import InvalidValue
from model_core.families.dalle_bart.decoder import DecoderWeights, DecodeState, decode_step, prefill
from model_core.families.dalle_bart.network import DalleBartConfig
from model_core.sampler.sampling import NEAR_TIE, SamplingParams, draw

AnyArray = Array | np.ndarray

TO_BE_DRAWN = -1  # in place of a code


@struct.dataclass
class Images:
    """Which of R rows make up which of up to M images, and how each image is drawn.

    Attributes:
      count: how many images there are; what lies beyond in the arrays of M means nothing, and may be left out. None
        where all M are drawn, always.
      row: of each image, under its own text.
      uncond: the row that guidance leads away from; `row` where there is no guidance.
      sampling: of each image.
      of_row: the image whose codes a row takes.
    """

    count: Int[Array, ""] | None
    row: Int[Array, " M"]
    uncond: Int[Array, " M"]
    sampling: SamplingParams
    of_row: Int[Array, " R"]


@struct.dataclass
class Drawing:
    """R rows on their way, each at a position of its own.

    Attributes:
      state: of the decoder.
      codes: of each row; -1 where one is to be drawn. What is there already when its turn comes is kept.
      near_ties: which of those drawn won by less than `NEAR_TIE`.
      images: that the rows make up.
    """

    state: DecodeState
    codes: Int[Array, "R N"]
    near_ties: Bool[Array, "R N"]
    images: Images


def start(
    config: DalleBartConfig,
    weights: DecoderWeights,
    states: Float[AnyArray, "B T D"],
    text_mask: Int[AnyArray, "B T"],
    states_uncond: Float[AnyArray, "B T D"] | None,
    text_mask_uncond: Int[AnyArray, "B T"] | None,
    sampling: SamplingParams,
) -> Drawing:
    """Takes encoder states to images of which no code is drawn yet: row i is image i, and row B + i its unconditional.

    Where every guidance scale is 1 the unconditional half is not used, may be None, and takes no rows: there are two
    compiled programs for each batch size, one with guidance and one without.

    Raises:
      InvalidValue: there is guidance, but nothing unconditional or only something of another shape.
    """
    images = np.arange(sampling.seed.shape[0], dtype=np.int32)
    uncond = of_row = images
    if has_guidance(sampling):
        if states_uncond is None or text_mask_uncond is None:
            raise InvalidValue("Guidance needs an unconditional text; give one, or a scale of 1.", "guidance_scale")
        if states_uncond.shape != states.shape:
            raise InvalidValue(
                f"The unconditional states have the shape {states_uncond.shape}; those of the prompt {states.shape}."
            )
        states = jnp.concatenate([states, states_uncond])
        text_mask = jnp.concatenate([text_mask, text_mask_uncond])
        uncond, of_row = images + images.size, np.tile(images, 2)
    rows = {"row": images, "uncond": uncond, "sampling": sampling, "of_row": of_row}
    return _start(config, weights, states, text_mask, Images(count=None, **jax.tree.map(jnp.asarray, rows)))


def advance(
    config: DalleBartConfig,
    weights: DecoderWeights,
    drawing: Drawing,
    steps: int,
    gumbel: Float[AnyArray, "B N V"] | None = None,
) -> Drawing:
    """Draws the next `steps` codes of every row. `drawing` is used up: its buffers move on to the result.

    Args:
      steps: any number; rows that reach their end stay there.
      gumbel: noise of all N positions, to use in place of the seeds'.
    """
    for _ in range(steps):
        drawing = draw_next(config, weights, drawing, gumbel)
    return drawing


def has_guidance(sampling: SamplingParams) -> bool:
    """Whether any image of the batch needs unconditional logits."""
    return bool((sampling.guidance_scale != 1).any())


@partial(jax.jit, static_argnums=0)
def _start(config, weights, states, text_mask, images):
    shape = states.shape[0], config.image_length
    return Drawing(
        state=prefill(config, weights, states, text_mask.astype(bool)),
        codes=jnp.full(shape, TO_BE_DRAWN, jnp.int32),
        near_ties=jnp.zeros(shape, bool),
        images=images,
    )


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def draw_next(
    config: DalleBartConfig,
    weights: DecoderWeights,
    drawing: Drawing,
    gumbel: Float[AnyArray, "M N V"] | None = None,
) -> Drawing:
    """Draws the next code of every row, one compiled program for each shape of `drawing`, which is used up."""
    rows, last = jnp.arange(drawing.codes.shape[0]), config.image_length - 1
    position = jnp.minimum(drawing.state.position, last)  # rows at their end go over their last code again
    before = jnp.where(position == 0, config.decoder_start_token_id, drawing.codes[rows, position - 1])
    logits, state = decode_step(config, weights, replace(drawing.state, position=position), before)
    drawn, margin = (leaf[drawing.images.of_row] for leaf in _draw(config, drawing.images, logits, position, gumbel))
    given = drawing.codes[rows, position]
    is_free = given == TO_BE_DRAWN
    codes = drawing.codes.at[rows, position].set(jnp.where(is_free, drawn, given))
    near_ties = drawing.near_ties.at[rows, position].max(is_free & (margin < NEAR_TIE))
    return replace(drawing, state=state, codes=codes, near_ties=near_ties)


def _draw(config, images, logits, position, gumbel):
    """A code for each image, and its margin. Where `count` tells that half of the rows are images, half is saved."""
    num_images, half = images.row.size, logits.shape[0] // 2

    def draw_first(count):
        row = images.row[:count]
        drawn = draw(
            jax.tree.map(lambda leaf: leaf[:count], images.sampling),
            logits[row],
            logits[images.uncond[:count]],
            position[row],
            eos_token_id=config.eos_token_id,
            gumbel=None if gumbel is None else gumbel[jnp.arange(count), position[row]],
        )
        return jax.tree.map(lambda leaf: jnp.pad(leaf, (0, num_images - count)), drawn)

    if images.count is None or half == 0:
        return draw_first(num_images)
    return jax.lax.cond(images.count <= half, lambda: draw_first(half), lambda: draw_first(num_images))
