"""From logits to the next image code: guidance, temperature, top_k, top_p, draw.

Knows nothing of the network. Every parameter is a traced value with one entry per image, so that changing one never
recompiles, and images with different parameters share a batch.

Guidance is Katherine Crowson's "super conditioning" as dalle-mini applies it; the filters keep the ids that the
warpers of Hugging Face's Flax generation keep, ties included.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt32

from model_core.errors import InvalidValue
from model_core.sampler.top_k_top_p import keep_likeliest

AnyArray = Array | np.ndarray
PerImage = float | Sequence[float] | np.ndarray | Array  # one value for all images of a batch, or one each

_COLDEST = 1e-20  # keeps logits / temperature finite; as good as greedy

NEAR_TIE = 1e-3  # a margin below which another order of additions may draw another code, in float32


@struct.dataclass
class SamplingParams:
    """How each of B images is drawn. Made by `sampling_params`, which checks the values.

    Attributes:
      guidance_scale: 1.0 leaves the conditional logits as they are.
      temperature: divides the guided logits.
      top_k: how many of the likeliest ids can be drawn; 0 = all.
      top_p: the likeliest ids that together reach this probability can be drawn; 1.0 = all.
      num_codes: ids from here on are never drawn.
      seed: position p draws with fold_in(key(seed, impl="threefry2x32"), p).
      greedy: take the likeliest id and draw nothing.
    """

    guidance_scale: Float[AnyArray, " B"]
    temperature: Float[AnyArray, " B"]
    top_k: Int[AnyArray, " B"]
    top_p: Float[AnyArray, " B"]
    num_codes: Int[AnyArray, " B"]
    seed: UInt32[AnyArray, " B"]
    greedy: Bool[AnyArray, " B"]


def sampling_params(
    batch: int,
    *,
    num_codes: int,
    guidance_scale: PerImage = 10.0,
    temperature: PerImage = 1.0,
    top_k: PerImage = 0,
    top_p: PerImage = 1.0,
    seeds: Any = None,
    greedy: bool = False,
) -> SamplingParams:
    """Checks sampling parameters, scalars or one per image, and spreads them over `batch` images, as numpy arrays.

    Args:
      seeds: one integer in 0…2³²−1 per image; None takes fresh ones from the operating system.

    Raises:
      InvalidValue: a value is out of range, not a number, or of the wrong count; `param` names it.
    """
    per_image = {
        "guidance_scale": _reals("guidance_scale", guidance_scale, batch),
        "temperature": _reals("temperature", temperature, batch),
        "top_p": _reals("top_p", top_p, batch),
    }
    _require(per_image["temperature"] > 0, "temperature", temperature, "above 0")
    _require((per_image["top_p"] > 0) & (per_image["top_p"] <= 1), "top_p", top_p, "above 0 and at most 1")
    limit = _integers("top_k", top_k, batch)
    _require(limit >= 0, "top_k", top_k, "0 (off) or more")
    _require(np.array(num_codes > 0), "num_codes", num_codes, "1 or more")
    return SamplingParams(
        **{name: values.astype(np.float32) for name, values in per_image.items()},
        top_k=np.minimum(limit, np.iinfo(np.int32).max).astype(np.int32),
        num_codes=np.full(batch, num_codes, np.int32),
        seed=_seeds(seeds, batch).astype(np.uint32),
        greedy=np.full(batch, greedy, bool),
    )


@partial(jax.jit, static_argnames="eos_token_id")
def draw(
    params: SamplingParams,
    logits: Float[Array, "B V"],
    logits_uncond: Float[Array, "B V"] | None,
    position: Int[Array, " B"],
    *,
    eos_token_id: int,
    gumbel: Float[Array, "B V"] | None = None,
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """Takes float32 logits for each image's `position` to the code that goes there, and says by how much it won.

    Args:
      logits_uncond: logits under the unconditional (or negative) prompt; None where all guidance scales are 1.
      gumbel: noise to use in place of the seed's.

    Returns:
      The codes; and their margins over the second best, in units of filtered logits with noise: infinite where nothing
      else could be drawn.
    """
    if logits_uncond is not None:
        logits = guide(logits, logits_uncond, params.guidance_scale)
    ids = jnp.arange(logits.shape[-1])
    can_be_drawn = (ids < params.num_codes[:, None]) & (ids != eos_token_id)
    logits = jnp.where(can_be_drawn, logits, -jnp.inf)
    if gumbel is None:
        gumbel = gumbel_noise(params.seed, position, logits.shape[-1])
    noisy = warp(logits, params.temperature, params.top_k, params.top_p) + gumbel
    scores = jnp.where(params.greedy[:, None], logits, noisy)
    codes = scores.argmax(-1, keepdims=True)
    second = jnp.where(ids == codes, -jnp.inf, scores).max(-1)
    return codes[:, 0].astype(jnp.int32), scores.max(-1) - second


def guide(
    logits: Float[Array, "B V"], logits_uncond: Float[Array, "B V"], scale: Float[AnyArray, " B"]
) -> Float[Array, "B V"]:
    """Moves logits away from the unconditional ones; a scale of 1 leaves them bit for bit."""
    scale = scale[:, None]
    return jnp.where(scale == 1, logits, logits_uncond + scale * (logits - logits_uncond))


@jax.jit
def warp(
    logits: Float[Array, "B V"],
    temperature: Float[AnyArray, " B"],
    top_k: Int[AnyArray, " B"],
    top_p: Float[AnyArray, " B"],
) -> Float[Array, "B V"]:
    """Applies temperature, then top_k, then top_p; ids that fall out become -inf, at least one stays."""
    logits = logits / jnp.maximum(temperature, _COLDEST)[:, None]
    is_filtered = jnp.any(top_k > 0) | jnp.any(top_p < 1)
    return jax.lax.cond(is_filtered, keep_likeliest, lambda logits, *_: logits, logits, top_k, top_p)


def gumbel_noise(seed: UInt32[AnyArray, " B"], position: Int[Array, " B"], size: int) -> Float[Array, "B {size}"]:
    """The noise of each image at its position: a function of the two alone, whoever else is in the batch."""

    def one(seed, position):
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), position)
        return jax.random.gumbel(key, (size,), jnp.float32)

    return jax.vmap(one)(seed, position)


def _seeds(seeds, batch):
    if seeds is None:
        return np.random.SeedSequence().generate_state(batch)
    values = _integers("seeds", seeds, batch, spread=False)
    _require((values >= 0) & (values < 2**32), "seeds", seeds, "from 0 to 4294967295")
    return values


def _integers(name, value, batch, *, spread=True):
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise InvalidValue(f"{name} is {value!r}; it must be integer.", name)
    return _one_each(name, array, batch, spread).astype(np.int64)


def _reals(name, value, batch):
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or not (np.abs(array) <= np.finfo(np.float32).max).all():
        raise InvalidValue(f"{name} is {value!r}; it must be a finite number.", name)
    return _one_each(name, array, batch, spread=True).astype(np.float64)


def _one_each(name, array, batch, spread):
    if array.shape != (batch,) and not (spread and array.ndim == 0):
        allowed = f"one value or {batch}" if spread else f"{batch}"
        raise InvalidValue(f"{name} has the shape {array.shape}; the batch takes {allowed}.", name)
    return np.broadcast_to(array, (batch,))


def _require(is_fine, name, value, allowed):
    if not is_fine.all():
        raise InvalidValue(f"{name} is {value!r}; it must be {allowed}.", name)
