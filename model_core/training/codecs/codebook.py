"""The codebook of a VQGAN that takes the nearest code: where it starts, and how it follows the encoder.

It moves by exponential averages of the features that chose each code, and unused codes are restarted at features of the
batch (van den Oord et al., arXiv:1711.00937, appendix A; Łańcucki et al., arXiv:2005.08520). It starts by k-means on
features that the network has already learned without quantising.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model_core.training.codecs.recipes import VQGANRecipe
from model_core.training.loop import State


def table(params: Any) -> Float[Array, "C E"]:
    """The vectors that codes stand for."""
    return params["quantize"]["embedding"]["embedding"]


def unmoved(params: Any) -> State:
    """What a state holds of a codebook that nothing has used yet.

    `uses` [C]: the moving average of each code's uses in a batch; `sums` [C, E]: of the features that chose it.
    """
    return {"uses": jnp.ones(len(table(params))), "sums": jnp.array(table(params))}


def moved(state: State, recipe: VQGANRecipe, z: Float[Array, "N E"], codes: Int[Array, " N"], key: Array) -> State:
    """Moves every code towards the features that chose it and restarts the unused ones at random features."""
    keep = recipe.codebook_decay
    size = state["uses"].shape[0]
    uses = keep * state["uses"] + (1 - keep) * jax.ops.segment_sum(jnp.ones(len(codes)), codes, size)
    sums = keep * state["sums"] + (1 - keep) * jax.ops.segment_sum(z, codes, size)
    fresh = z[jax.random.randint(key, (size,), 0, len(z))]
    dead = (uses < recipe.restart_below)[:, None]
    sums = jnp.where(dead, fresh, sums)
    uses = jnp.where(dead[:, 0], 1.0, uses)
    return _with_table(state, sums / uses[:, None]) | {"uses": uses, "sums": sums}


def started(state: State, features: Float[np.ndarray, "N E"], seed: int, rounds: int = 12) -> State:
    """The same state with the codebook at the k-means of `features`.

    The first centres are drawn far from each other (k-means++: Arthur & Vassilvitskii, 2007), since most features of a
    picture set may be its empty background.
    """
    size = len(state["uses"])
    if len(features) < size:
        raise ValueError(f"a codebook of {size} cannot start from {len(features)} features: encode more pictures.")
    centres = _far_apart(features, size, np.random.default_rng(seed))
    for _ in range(rounds):
        distances = (features**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * features @ centres.T
        codes, error = distances.argmin(1), distances.min(1)
        uses = np.bincount(codes, minlength=size)
        for axis in range(features.shape[1]):
            centres[:, axis] = np.bincount(codes, features[:, axis], size) / np.maximum(uses, 1)
        empty = np.flatnonzero(uses == 0)
        centres[empty] = features[np.argsort(error)[::-1][: len(empty)]]  # those served worst
    state = _with_table(state, jnp.asarray(centres, jnp.float32))
    return state | unmoved(state["params"])


def _with_table(state: State, vectors: Float[Array, "C E"]) -> State:
    return {**state, "params": {**state["params"], "quantize": {"embedding": {"embedding": vectors}}}}


def _far_apart(features: Float[np.ndarray, "N E"], size: int, rng: np.random.Generator) -> Float[np.ndarray, "C E"]:
    """Draws features one by one, each in proportion to its squared distance from those drawn before."""
    chosen = [int(rng.integers(len(features)))]
    error = np.full(len(features), np.inf)
    while len(chosen) < size:
        error = np.minimum(error, ((features - features[chosen[-1]]) ** 2).sum(1))
        total = error.sum(dtype=np.float64)
        chosen.append(int(rng.choice(len(features), p=error / total if total > 0 else None)))
    return features[chosen]
