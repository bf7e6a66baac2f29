"""The one step that draws codes, and a turn of several: rows of codes on the device, one code or more further a step.

Each code is a function of those before it, because its noise is fixed by seed and position. So a step may guess the
next few: what it draws behind right guesses is what would be drawn one at a time, and what it draws behind the first
wrong one is the next step's guess. This is Jacobi iteration on a triangular system, as in Santilli et al. (arXiv
2305.10427), over codes that are drawn rather than likeliest.

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
      guesses: what was drawn last at each place, behind codes that may be wrong; `FREE` where nothing was.
      near_ties: which of those drawn won by less than `NEAR_TIE`.
    """

    state: Any
    position: Int[AnyArray, " R"]
    codes: Int[AnyArray, "R N"]
    guesses: Int[AnyArray, "R N"]
    near_ties: Bool[AnyArray, "R N"]


def take_turn(
    model: Model, weights: Any, drawing: Drawing, images: Images, steps: int, reach: int, window: int, *, as_loop: bool
) -> tuple[Drawing, Int[Array, "R P"]]:
    """Takes every row so many steps further, without waiting for them. `drawing` is used up.

    Args:
      reach: no row that matters comes to it.
      window: a step draws from 1 to so many codes; at most N.
      as_loop: one program for any number of steps, rather than a call for each.

    Returns:
      The rows, and what `unpack` takes, on its way to the host already.
    """
    if as_loop:
        drawing, packed = _loop(model, weights, drawing, images, np.int32(steps), reach, window)
    else:
        for _ in range(steps):
            drawing = _step(model, weights, drawing, images, reach, window)
        packed = _pack(drawing)
    packed.copy_to_host_async()
    return drawing, packed


def unpack(
    packed: Int[Array, "R P"],
) -> tuple[Int[np.ndarray, "R N"], Bool[np.ndarray, "R N"], Int[np.ndarray, " R"]]:
    """Waits for what `take_turn` began; gives codes, which of them were near ties, and positions."""
    read = np.asarray(packed)
    return read[:, :-1] >> 1, (read[:, :-1] & 1).astype(bool), read[:, -1]


def draw_next(model: Model, weights: Any, drawing: Drawing, images: Images, reach: int, window: int) -> Drawing:
    """Draws a window of codes of every row, and keeps those before which all that was fed was right.

    A window that would go beyond the end of an image begins earlier, with codes that are known; so do those of rows at
    their end.
    """
    count, length = drawing.codes.shape
    start = jnp.minimum(drawing.position, length - window)
    rows, places = jnp.arange(count)[:, None], start[:, None] + jnp.arange(window)
    fed = _guessed(drawing, model.config.grid.columns, window)
    before = fed[rows, jnp.maximum(places - 1, 0)]
    logits, state = model.family.step(model.config, weights, drawing.state, before, start, reach)
    drawn, margin = (leaf[images.of_row] for leaf in _draw(images, logits[..., : model.num_codes], places))
    drawn = jnp.where(jnp.isnan(margin), NOT_FINITE, drawn)
    codes = jnp.asarray(drawing.codes)
    given = codes[rows, places]
    is_free = given == FREE
    found = jnp.where(is_free, drawn, given)
    was_right = fed[rows, places] == found
    follows_right = jnp.cumprod(was_right[:, :-1], axis=1, dtype=jnp.int32)
    is_final = jnp.pad(follows_right, ((0, 0), (1, 0)), constant_values=1).astype(bool)  # the first always is
    return Drawing(
        state=state,
        position=start + is_final.sum(1),
        codes=codes.at[rows, places].set(jnp.where(is_final, found, given)),
        guesses=jnp.asarray(drawing.guesses).at[rows, places].set(found),
        near_ties=jnp.asarray(drawing.near_ties).at[rows, places].max(is_free & is_final & (margin < NEAR_TIE)),
    )


def _guessed(drawing, columns, window):
    """What is known of each place, else what was drawn there last, else the code above it, else the last one known."""
    codes, guesses = jnp.asarray(drawing.codes), jnp.asarray(drawing.guesses)
    guessed = jnp.where(codes == FREE, guesses, codes)
    for _ in range(-(-window // columns) if window > 1 else 0):
        guessed = jnp.where(guessed == FREE, jnp.roll(guessed, columns, axis=1), guessed)
    last = jnp.take_along_axis(guessed, jnp.maximum(drawing.position - 1, 0)[:, None], axis=1)
    return jnp.maximum(jnp.where(guessed == FREE, last, guessed), 0)


def _draw(images, logits, places):
    """Codes for each image, and their margins. Where `count` tells that half of the rows are images, half is saved."""
    num_images, half = images.row.size, logits.shape[0] // 2

    def draw_first(count):
        row, uncond, settings, seed = jax.tree.map(
            lambda leaf: leaf[:count], (images.row, images.uncond, images.settings, images.seed)
        )
        noise = None if images.noise is None else images.noise[jnp.arange(count)[:, None], places[row]]
        each = settings, seed  # has one entry for each image, what follows for each of its places too
        of_places = logits[row], logits[uncond], places[row], noise
        each = jax.tree.map(lambda leaf: jnp.repeat(leaf, places.shape[1], axis=0), each)
        of_places = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), of_places)
        drawn = (leaf.reshape(count, -1) for leaf in draw(*each, *of_places))
        return tuple(jnp.pad(leaf, ((0, num_images - count), (0, 0))) for leaf in drawn)

    if images.count is None or half == 0:
        return draw_first(num_images)
    return jax.lax.cond(images.count <= half, lambda: draw_first(half), lambda: draw_first(num_images))


_step = partial(jax.jit, static_argnums=(0, 4, 5), donate_argnums=2)(draw_next)


@partial(jax.jit, static_argnums=(0, 5, 6), donate_argnums=2)
def _loop(model, weights, drawing, images, steps, reach, window):
    def draw(_, drawing):
        return draw_next(model, weights, drawing, images, reach, window)

    drawing = jax.lax.fori_loop(0, steps, draw, drawing)
    return drawing, _pack(drawing)


@jax.jit
def _pack(drawing):
    codes = drawing.codes * 2 + drawing.near_ties  # `FREE` stays negative
    return jnp.concatenate([codes, drawing.position[:, None]], axis=1)
