"""A drawn code, relaxed: a mixture of all codes that a gradient can cross, and that becomes one code as it cools.

The Gumbel-softmax of Jang et al. (arXiv:1611.01144) and Maddison et al. (arXiv:1611.00712), as DALL·E's dVAE
(arXiv:2102.12092, appendix A), DALLE-pytorch's DiscreteVAE and taming-transformers' GumbelVQ use it. A picture's codes,
after training, are the likeliest ones.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model_core.codecs import CodecConfig
from model_core.training.codecs.recipes import RelaxedRecipe
from model_core.training.loop import Metrics


def choose(
    config: CodecConfig, recipe: RelaxedRecipe, logits: Float[Array, "B h w C"], key: Array, step: Int[Array, ""]
) -> tuple[Float[Array, "B h w C"], Float[Array, ""], Metrics]:
    """Weights of all codes at each place, which sum to 1; the weighted KL from a uniform choice; and what to report."""
    degree, kl = temperature(recipe, step), kl_from_uniform(logits)
    values = 3 * (config.size[0] * config.size[1]) / config.grid.num_codes  # of the pixels that one code stands for
    used = jnp.zeros(logits.shape[-1]).at[logits.argmax(axis=-1).reshape(-1)].set(1.0)
    metrics = {"kl": kl, "temperature": degree, "codes_used": used.mean()}
    weights = relaxed(logits, key, degree, straight_through=recipe.straight_through)
    return weights, kl_weight(recipe, step) * kl / values, metrics


def relaxed(
    logits: Float[Array, "*batch C"], key: Array, degree: Float[Array, ""] | float, *, straight_through: bool = False
) -> Float[Array, "*batch C"]:
    """A draw from `logits`, relaxed; with `straight_through` it is one code, with the relaxed one's gradient."""
    soft = jax.nn.softmax((logits + jax.random.gumbel(key, logits.shape)) / degree)
    if not straight_through:
        return soft
    hard = jax.nn.one_hot(soft.argmax(axis=-1), logits.shape[-1])
    return soft + jax.lax.stop_gradient(hard - soft)


def kl_from_uniform(logits: Float[Array, "*batch C"]) -> Float[Array, ""]:
    """KL(codes' distribution ‖ uniform), the mean over all places, in nats."""
    log_shares = jax.nn.log_softmax(logits)
    return jnp.mean(jnp.sum(jnp.exp(log_shares) * (log_shares + jnp.log(logits.shape[-1])), axis=-1))


def temperature(recipe: RelaxedRecipe, step: Int[Array, ""] | int) -> Float[Array, ""]:
    """From `temperature` to `final_temperature` over `temperature_fraction` of the steps."""
    done = _done(step, recipe.steps * recipe.temperature_fraction)
    first, last = recipe.temperature, recipe.final_temperature
    if recipe.temperature_schedule == "exponential":
        return first * (last / first) ** done
    return last + (first - last) * (1 + jnp.cos(jnp.pi * done)) / 2


def kl_weight(recipe: RelaxedRecipe, step: Int[Array, ""] | int) -> Float[Array, ""]:
    """From 0 to `kl_weight` over `kl_fraction` of the steps, along a half cosine."""
    return recipe.kl_weight * (1 - jnp.cos(jnp.pi * _done(step, recipe.steps * recipe.kl_fraction))) / 2


def _done(step: Int[Array, ""] | int, length: float) -> Float[Array, ""]:
    """The share of `length` steps that is over; 1 where it has none."""
    return jnp.clip(jnp.asarray(step, jnp.float32) / length, 0.0, 1.0) if length else jnp.ones(())
