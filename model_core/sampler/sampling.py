"""From logits to the next image code: guidance, temperature, top_k, top_p, draw.

Every parameter is a traced value with one entry per image, so that changing one never recompiles, and images with
different parameters share a batch.

Guidance is Katherine Crowson's "super conditioning" as dalle-mini applies it; the filters keep the ids that the
warpers of Hugging Face's Flax generation keep, ties included.
"""

from collections.abc import Iterable
from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, UInt32

from model_core.sampler.sequence import Sampling
from model_core.sampler.top_k_top_p import keep_likeliest

_COLDEST = 1e-20  # keeps logits / temperature finite; as good as greedy

NEAR_TIE = 1e-3  # a margin below which another order of additions may draw another code, in float32

Settings = dict[str, Num[Array | np.ndarray, " B"]]  # the fields of `Sampling`, with one value for each of B images


def stacked(samplings: Iterable[Sampling]) -> Settings:
    """The settings of several images as arrays, float32 and int32."""
    images, largest = list(samplings), np.iinfo(np.int32).max
    return {
        each.name: np.array([getattr(one, each.name) for one in images], np.float32)
        if each.type is float
        else np.array([min(getattr(one, each.name), largest) for one in images], np.int32)
        for each in fields(Sampling)
    }


@jax.jit
def draw(
    settings: Settings,
    seed: UInt32[Array, " B"],
    logits: Float[Array, "B C"],
    logits_uncond: Float[Array, "B C"] | None,
    position: Int[Array, " B"],
    noise: Float[Array, "B C"] | None = None,
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """Takes float32 logits for each image's `position` to the code that goes there, and says by how much it won.

    Args:
      logits_uncond: logits under the unconditional (or negative) prompt; None where all guidance scales are 1.
      noise: Gumbel noise to use in place of the seed's.

    Returns:
      The codes; and their margins over the second best, in units of filtered logits with noise: infinite where nothing
      else could be drawn, NaN where the logits themselves are NaN or infinite.
    """
    largest = logits.max(-1) if logits_uncond is None else jnp.maximum(logits.max(-1), logits_uncond.max(-1))
    if logits_uncond is not None:
        is_guided = (settings["guided_codes"] == 0) | (position < settings["guided_codes"])
        logits = guide(logits, logits_uncond, jnp.where(is_guided, settings["guidance_scale"], 1.0))
    if noise is None:
        noise = gumbel_noise(seed, position, logits.shape[-1])
    scores = warp(logits, settings["temperature"], settings["top_k"], settings["top_p"]) + noise
    codes = scores.argmax(-1, keepdims=True)
    second = jnp.where(jnp.arange(logits.shape[-1]) == codes, -jnp.inf, scores).max(-1)
    margin = jnp.nan_to_num(scores.max(-1) - second, posinf=jnp.inf)  # settings may overflow: no fault of the logits
    return codes[:, 0].astype(jnp.int32), jnp.where(jnp.isfinite(largest), margin, jnp.nan)


def guide(
    logits: Float[Array, "B C"], logits_uncond: Float[Array, "B C"], scale: Float[Array | np.ndarray, " B"]
) -> Float[Array, "B C"]:
    """Moves logits away from the unconditional ones; a scale of 1 leaves them bit for bit, and -inf stays."""
    scale = scale[:, None]
    moved = logits_uncond + scale * (logits - logits_uncond)
    return jnp.where((scale == 1) | (logits == -jnp.inf), logits, moved)


@jax.jit
def warp(
    logits: Float[Array, "B C"],
    temperature: Float[Array | np.ndarray, " B"],
    top_k: Int[Array | np.ndarray, " B"],
    top_p: Float[Array | np.ndarray, " B"],
) -> Float[Array, "B C"]:
    """Applies temperature, then top_k, then top_p; ids that fall out become -inf, at least one stays."""
    logits = logits / jnp.maximum(temperature, _COLDEST)[:, None]
    is_filtered = jnp.any(top_k > 0) | jnp.any(top_p < 1)
    return jax.lax.cond(is_filtered, keep_likeliest, lambda logits, *_: logits, logits, top_k, top_p)


def gumbel_noise(
    seed: UInt32[Array | np.ndarray, " B"], position: Int[Array, " B"], size: int
) -> Float[Array, "B {size}"]:
    """The noise of each image at its position: a function of the two alone, whoever else is in the batch."""

    def one(seed, position):
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), position)
        return jax.random.gumbel(key, (size,), jnp.float32)

    return jax.vmap(one)(seed, position)
