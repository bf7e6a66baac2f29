"""The one step that draws codes, and a turn of several: rows of codes on the device, one code further a step.

An image under guidance is two rows, which take the same codes under different texts; without guidance it is one.
On an accelerator a turn is one program, a loop with a traced number of steps; on a CPU, where XLA's loops copy what
they carry, it is as many calls of one step.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt32

from model_core.families.conditions import FREE
from model_core.families.protocol import Config, Family
from model_core.sampler.sampling import NEAR_TIE, Settings, draw

NOT_FINITE = FREE - 1  # in place of a code whose logits are NaN or infinite

AnyArray = Array | np.ndarray


class Model(NamedTuple):
    """What is static in every program of the sampler; ids from `num_codes` on are never drawn."""

    family: Family
    config: Config
    num_codes: int


@struct.dataclass
class Images:
    """Which of R rows make up which of up to M images, and how each image is drawn.

    Attributes:
      count: how many images there are; what lies beyond in the arrays of M means nothing. None where all M are drawn,
        always.
      row: of each image, under its own text.
      uncond: the row that guidance leads away from; `row` where there is no guidance.
      noise: to use in place of the seed's, or None.
      of_row: the image whose codes a row takes.
    """

    count: Int[Array, ""] | None
    row: Int[Array, " M"]
    uncond: Int[Array, " M"]
    settings: Settings
    seed: UInt32[Array, " M"]
    noise: Float[Array, "M N C"] | None
    of_row: Int[Array, " R"]


@struct.dataclass
class Drawing:
    """R rows on their way, each at a position of its own.

    Attributes:
      state: the family's.
      position: of the code that each row draws next; N at its end.
      codes: of each row; `FREE` where one is to be drawn. What is there already when its turn comes is kept.
      near_ties: which of those drawn won by less than `NEAR_TIE`.
    """

    state: Any
    position: Int[AnyArray, " R"]
    codes: Int[AnyArray, "R N"]
    near_ties: Bool[AnyArray, "R N"]


def take_turn(
    model: Model, weights: Any, drawing: Drawing, images: Images, steps: int, reach: int, *, as_loop: bool
) -> tuple[Drawing, Int[Array, "R N"]]:
    """Draws the next `steps` codes of every row, without waiting for them. `drawing` is used up.

    Args:
      reach: no row that matters comes to it.
      as_loop: one program for any number of steps, rather than a call for each.

    Returns:
      The rows, and what `unpack` takes, on its way to the host already.
    """
    if as_loop:
        drawing, packed = _loop(model, weights, drawing, images, np.int32(steps), reach)
    else:
        for _ in range(steps):
            drawing = _step(model, weights, drawing, images, reach)
        packed = _pack(drawing)
    packed.copy_to_host_async()
    return drawing, packed


def unpack(packed: Int[Array, "R N"]) -> tuple[Int[np.ndarray, "R N"], Bool[np.ndarray, "R N"]]:
    """Waits for what `take_turn` began; gives codes, and which of them were near ties."""
    read = np.asarray(packed)
    return read >> 1, (read & 1).astype(bool)


def draw_next(model: Model, weights: Any, drawing: Drawing, images: Images, reach: int) -> Drawing:
    """Draws the next code of every row. Rows at their end go over their last code again."""
    rows, last = jnp.arange(drawing.codes.shape[0]), drawing.codes.shape[1] - 1
    position = jnp.minimum(drawing.position, last)
    before = drawing.codes[rows, jnp.maximum(position - 1, 0)]
    logits, state = model.family.step(model.config, weights, drawing.state, before[:, None], position, reach)
    drawn, margin = (leaf[images.of_row] for leaf in _draw(images, logits[:, 0, : model.num_codes], position))
    codes, near_ties = jnp.asarray(drawing.codes), jnp.asarray(drawing.near_ties)
    drawn = jnp.where(jnp.isnan(margin), NOT_FINITE, drawn)
    given = codes[rows, position]
    is_free = given == FREE
    return Drawing(
        state=state,
        position=position + 1,
        codes=codes.at[rows, position].set(jnp.where(is_free, drawn, given)),
        near_ties=near_ties.at[rows, position].max(is_free & (margin < NEAR_TIE)),
    )


def _draw(images, logits, position):
    """A code for each image, and its margin. Where `count` tells that half of the rows are images, half is saved."""
    num_images, half = images.row.size, logits.shape[0] // 2

    def draw_first(count):
        row, uncond, settings, seed = jax.tree.map(
            lambda leaf: leaf[:count], (images.row, images.uncond, images.settings, images.seed)
        )
        noise = None if images.noise is None else images.noise[jnp.arange(count), position[row]]
        drawn = draw(settings, seed, logits[row], logits[uncond], position[row], noise)
        return jax.tree.map(lambda leaf: jnp.pad(leaf, (0, num_images - count)), drawn)

    if images.count is None or half == 0:
        return draw_first(num_images)
    return jax.lax.cond(images.count <= half, lambda: draw_first(half), lambda: draw_first(num_images))


_step = partial(jax.jit, static_argnums=(0, 4), donate_argnums=2)(draw_next)


@partial(jax.jit, static_argnums=(0, 5), donate_argnums=2)
def _loop(model, weights, drawing, images, steps, reach):
    drawing = jax.lax.fori_loop(0, steps, lambda _, drawing: draw_next(model, weights, drawing, images, reach), drawing)
    return drawing, _pack(drawing)


@jax.jit
def _pack(drawing):
    return drawing.codes * 2 + drawing.near_ties  # `FREE` stays negative
