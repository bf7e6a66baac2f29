"""What a step of refinement descends: how far a picture's cutouts are from the texts, and the picture from its start.

The gradient crosses the scorer's image tower, the cutouts, the codec's decoder and, as if it were not there, the choice
of the nearest code. Cutouts are looked at a few at a time, and their gradients added up, so that the memory needed does
not depend on how many there are, and one program does for any number.

Source of the method: Katherine Crowson's VQGAN+CLIP, 2021; Crowson et al. 2022, arXiv:2204.08583.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int

from model_core.codecs import VectorCodec
from model_core.refine.cutouts import cut
from model_core.scorers import Scorer

AT_ONCE = 8  # cutouts


@dataclass(frozen=True, slots=True)
class Networks:
    """The two modules and their configurations; static in `jit`."""

    codec: VectorCodec
    codec_config: Any
    scorer: Scorer
    scorer_config: Any


class Goal(NamedTuple):
    """What the gradient depends on beside the picture; traced in `jit`.

    Attributes:
      texts: unit vectors of the scorer's, weighted by `weights`; rows that stand for no text have weight 0.
      key: of all steps.
    """

    texts: Float[Array, "texts P"]
    weights: Float[Array, " texts"]
    cutouts: Int[Array, ""]
    init_weight: Float[Array, ""]
    step_size: Float[Array, ""]
    key: Array


def loss_and_gradient(
    networks: Networks,
    params: dict[str, Any],
    vectors: Float[Array, "rows columns E"],
    start: Float[Array, "rows columns E"],
    goal: Goal,
    step: Int[Array, ""],
    *,
    quantise: bool = True,
) -> tuple[Float32[Array, ""], Float32[Array, "rows columns E"]]:
    """The loss of a picture, and its gradient in the picture's vectors.

    loss = Σ weight · mean over cutouts of `distance` + init_weight / 2 · mean (vectors − start)²

    Args:
      params: of `codec` and `scorer`.
      step: number of the step, for other cutouts in each.
      quantise: whether the picture is made of the nearest vectors of the codebook; else of these themselves.
    """
    codec, config = networks.codec, networks.codec_config

    def painted(vectors: Float[Array, "rows columns E"]) -> Float[Array, "height width 3"]:
        if quantise:
            vectors = straight_through(vectors, codec.codebook(config, params["codec"]).astype(jnp.float32))
        return clamp(codec.decode_vectors(config, params["codec"], vectors[None])[0])

    pixels, pull_back = jax.vjp(painted, vectors)
    loss, of_pixels = _looked_at(networks, params["scorer"], pixels, goal, jax.random.fold_in(goal.key, step))
    (gradient,) = pull_back(of_pixels)
    away = vectors - start
    return loss + goal.init_weight / 2 * jnp.mean(away**2), gradient + goal.init_weight * away / away.size


def _looked_at(
    networks: Networks, params: Any, pixels: Float[Array, "height width 3"], goal: Goal, key: Array
) -> tuple[Float32[Array, ""], Float[Array, "height width 3"]]:
    """The weighted distance from the texts, a mean over all cutouts, and its gradient in the pixels."""
    scorer, config = networks.scorer, networks.scorer_config

    def add(number: Int[Array, ""], sums: Any) -> Any:
        places = number * AT_ONCE + jnp.arange(AT_ONCE)
        shares = jnp.where(places < goal.cutouts, 1 / goal.cutouts, 0)

        def weighted(pixels: Float[Array, "height width 3"]) -> Float[Array, ""]:
            looks = scorer.normalize(config, cut(pixels, key, places, config.size[0]))
            distances = distance(scorer.embed_pixels(config, params, looks)[:, None], goal.texts)
            return shares @ distances @ goal.weights

        return jax.tree.map(jnp.add, sums, jax.value_and_grad(weighted)(pixels))

    rounds = (goal.cutouts + AT_ONCE - 1) // AT_ONCE
    return jax.lax.fori_loop(0, rounds, add, (jnp.float32(0), jnp.zeros_like(pixels)))


def distance(a: Float[Array, "*#batch P"], b: Float[Array, "*#batch P"]) -> Float[Array, "..."]:
    """Half the square of the angle between unit vectors: 2 · asin(‖a − b‖ / 2)²."""
    chord = jnp.sqrt(jnp.maximum(jnp.sum((a - b) ** 2, axis=-1), 1e-12))
    return 2 * jnp.arcsin(jnp.minimum(chord / 2, 1 - 1e-6)) ** 2


def straight_through(
    vectors: Float[Array, "rows columns E"], codebook: Float[Array, "C E"]
) -> Float[Array, "rows columns E"]:
    """The nearest vectors of a codebook; the gradient passes as if there had been no choice."""
    distances = jnp.sum(codebook**2, axis=-1) - 2 * vectors @ codebook.T  # and the same for all: vectors²
    nearest = codebook[jnp.argmin(distances, axis=-1)]
    return jax.lax.stop_gradient(nearest) + (vectors - jax.lax.stop_gradient(vectors))


@jax.custom_vjp
def clamp(pixels: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Pixels cut to 0…1; a gradient passes within, and beyond where following it leads back."""
    return jnp.clip(pixels, 0, 1)


def _clamp_forward(pixels: Float[Array, "*shape"]) -> tuple[Any, Any]:
    return jnp.clip(pixels, 0, 1), pixels


def _clamp_backward(pixels: Float[Array, "*shape"], gradient: Float[Array, "*shape"]) -> tuple[Any]:
    leads_back = gradient * (pixels - jnp.clip(pixels, 0, 1)) >= 0  # descent goes against the gradient
    return (jnp.where(leads_back, gradient, 0),)


clamp.defvjp(_clamp_forward, _clamp_backward)
