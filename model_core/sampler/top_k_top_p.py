"""The likeliest ids of a row, found without sorting it.

On a CPU a sort of 16 385 logits takes as long as the decoder's step that made them. Here the smallest logit that stays
is found by bisection over the bits of its float, in 32 passes that only count or add up what lies above. An
accelerator sorts out a small `top_k` at once.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

SORTED = 128


def keep_likeliest(
    logits: Float[Array, "B V"], top_k: Int[Array, " B"], top_p: Float[Array, " B"]
) -> Float[Array, "B V"]:
    """Keeps the `top_k` likeliest ids, then of those the fewest that together reach `top_p`; the others become -inf.

    Of equally likely ids the lower ones stay. At least one id stays.

    Args:
      top_k: 0 = all.
      top_p: above 0; 1.0 = all. The probabilities are those among the ids that `top_k` keeps.
    """
    top_p = jnp.maximum(top_p, jnp.finfo(jnp.float32).tiny)  # smaller ones would be 0, and keep nothing
    return jax.lax.platform_dependent(logits, top_k, top_p, cpu=by_bisection, default=_by_either)


def _by_either(logits, top_k, top_p):
    is_small = jnp.all((top_k > 0) & (top_k <= SORTED))
    return jax.lax.cond(is_small, by_sorting, by_bisection, logits, top_k, top_p)


def by_sorting(logits: Float[Array, "B V"], top_k: Int[Array, " B"], top_p: Float[Array, " B"]) -> Float[Array, "B V"]:
    """`keep_likeliest` where every `top_k` lies in 1…`SORTED`."""
    logits = jnp.where(logits == 0, 0.0, logits)  # both zeros are one; `top_k` tells them apart
    values, ids = jax.lax.top_k(logits, min(SORTED, logits.shape[-1]))  # of equals the lower ids come first
    in_k = jnp.arange(values.shape[-1]) < top_k[:, None]
    probabilities = jax.nn.softmax(jnp.where(in_k, values, -jnp.inf))
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    in_p = (top_p[:, None] >= 1) | (before < top_p[:, None])
    last = (in_k & in_p).sum(-1, keepdims=True) - 1
    edge, edge_id = (jnp.take_along_axis(of_sorted, last, axis=-1) for of_sorted in (values, ids))
    kept = (logits > edge) | ((logits == edge) & (jnp.arange(logits.shape[-1]) <= edge_id))
    return jnp.where(kept, logits, -jnp.inf)


def by_bisection(
    logits: Float[Array, "B V"], top_k: Int[Array, " B"], top_p: Float[Array, " B"]
) -> Float[Array, "B V"]:
    """`keep_likeliest` for any `top_k`."""
    keys = _ordered(logits)
    limit = jnp.where(top_k > 0, jnp.minimum(top_k, logits.shape[-1]), logits.shape[-1])[:, None]
    in_k = _first_of_count(keys, limit)
    kept = jnp.where(in_k, logits, -jnp.inf)
    in_p = jax.lax.cond(
        jnp.any(top_p < 1),
        lambda: _first_of_mass(keys, jax.nn.softmax(kept), top_p[:, None]),
        lambda: jnp.ones_like(in_k),
    )
    return jnp.where(in_p, kept, -jnp.inf)


def _first_of_count(keys: UInt32[Array, "B V"], limit: Int[Array, "B 1"]) -> Bool[Array, "B V"]:
    last = _bisect(keys, lambda chosen: chosen.sum(-1, keepdims=True) >= limit)
    above, at_least = keys > last, keys >= last
    room = limit - above.sum(-1, keepdims=True)
    is_crowded = jnp.any(at_least.sum(-1, keepdims=True) > limit)  # equals at the edge: rare, and not cheap
    return jax.lax.cond(is_crowded, lambda: above | ((keys == last) & (_rank(keys == last) < room)), lambda: at_least)


def _first_of_mass(
    keys: UInt32[Array, "B V"], probabilities: Float[Array, "B V"], target: Float[Array, "B 1"]
) -> Bool[Array, "B V"]:
    def mass(chosen: Bool[Array, "B V"]) -> Float[Array, "B 1"]:
        return jnp.where(chosen, probabilities, 0).sum(-1, keepdims=True)

    last = _bisect(keys, lambda chosen: mass(chosen) >= target)
    reached = mass(keys > last) + _rank(keys == last) * probabilities  # before each of the equals at the edge
    return (target >= 1) | (keys > last) | ((keys == last) & (reached < target))


def _rank(chosen: Bool[Array, "B V"]) -> Int[Array, "B V"]:
    """How many of those chosen come before."""
    return jnp.cumsum(chosen, axis=-1) - chosen


def _bisect(
    keys: UInt32[Array, "B V"], is_enough: Callable[[Bool[Array, "B V"]], Bool[Array, "B 1"]]
) -> UInt32[Array, "B 1"]:
    """The largest key from which on upwards there is enough; 0 where there never is."""

    def set_bit(i: Int[Array, ""], found: UInt32[Array, "B 1"]) -> UInt32[Array, "B 1"]:
        tried = found | (jnp.uint32(1 << 31) >> i.astype(jnp.uint32))
        return jnp.where(is_enough(keys >= tried), tried, found)

    return jax.lax.fori_loop(0, 32, set_bit, jnp.zeros((keys.shape[0], 1), jnp.uint32))


def _ordered(values: Float[Array, "B V"]) -> UInt32[Array, "B V"]:
    """Integers in the order of the floats; both zeros are one."""
    bits = jax.lax.bitcast_convert_type(jnp.where(values == 0, 0.0, values).astype(jnp.float32), jnp.uint32)
    sign = jnp.uint32(1 << 31)
    return jnp.where(bits & sign, ~bits, bits | sign)
