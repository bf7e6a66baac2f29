"""OpenAI's dVAE: codes drawn from logits, relaxed; the decoder gives the mean and the spread of logit-Laplace pixels.

Paper: Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", arXiv:2102.12092, appendix A.
"""

import jax.numpy as jnp
from jax.scipy.special import logit
from jaxtyping import Array, Float, Int

from model_core.codecs.openai_dvae import OpenAIDVAE, OpenAIDVAEConfig, Params, inside, mean_pixels
from model_core.training.codecs import relaxation
from model_core.training.codecs.recipes import RelaxedRecipe
from model_core.training.codecs.reconstruction import Reconstruction

DECODER_PARTS = ("decoder",)
NARROWEST = -6.0  # log of a spread that is still as wide as a step of 255: what is narrower tells nothing of pixels
Network = OpenAIDVAE
Statistics = Float[Array, "B h w 6"]
picture = mean_pixels


def reconstruct(
    config: OpenAIDVAEConfig,
    recipe: RelaxedRecipe,
    params: Params,
    pixels: Float[Array, "B h w 3"],
    key: Array,
    step: Int[Array, ""],
    *,
    quantise: bool = True,
) -> Reconstruction:
    """The pictures' statistics as they come back through relaxed codes."""
    del quantise  # what is relaxed is never passed by
    model = OpenAIDVAE(config)
    logits = jnp.asarray(model.apply({"params": params}, pixels, method=OpenAIDVAE.logits))
    weights, side, metrics = relaxation.choose(config, recipe, logits, key, step)
    return Reconstruction(draw(config, params, weights), side, metrics)


def draw(
    config: OpenAIDVAEConfig,
    params: Params,
    codes: Int[Array, "B rows columns"] | Float[Array, "B rows columns C"],
) -> Statistics:
    """The statistics of the pictures of codes, or of weights of all codes."""
    return jnp.asarray(OpenAIDVAE(config).apply({"params": params}, codes, method=OpenAIDVAE.statistics))


def loss(recipe: RelaxedRecipe, out: Statistics, pixels: Float[Array, "B h w 3"]) -> Float[Array, ""]:
    """The mean over all values of -log f(x), of x in 0.1…0.9; in nats, and below 0 where the spread is narrow.

    f(x) = exp(-|logit x - μ| / b) / (2 b x (1 - x)), with μ in the first three channels and log b in the others. The
    paper has no least b; without one, pictures of plain colours, which are known exactly, would have b vanish.
    """
    del recipe  # nothing to choose
    middle, log_spread = out[..., :3], jnp.maximum(out[..., 3:], NARROWEST)
    x = inside(pixels)
    away = jnp.abs(logit(x) - middle) * jnp.exp(-log_spread)
    return jnp.mean(away + log_spread + jnp.log(2 * x * (1 - x)))


def last_layer(config: OpenAIDVAEConfig) -> tuple[str, ...]:
    """Where the kernel lies that makes statistics."""
    return ("decoder", "output", "kernel")
