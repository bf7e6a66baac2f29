"""A VQGAN that draws its codes from logits, relaxed: taming-transformers' GumbelVQ (arXiv:2012.09841).

A convolution of size 1 makes the logits of an encoder's features; the decoder sees the mixture of the codes' vectors.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model_core.codecs.vqgan import Params, VQGANConfig, encoder_pixels
from model_core.codecs.vqgan_network import VQGAN
from model_core.training.codecs import relaxation
from model_core.training.codecs.codebook import table
from model_core.training.codecs.recipes import GumbelRecipe
from model_core.training.codecs.reconstruction import Reconstruction
from model_core.training.codecs.vqgan import DECODER_PARTS, Network, decoded, draw, last_layer, loss, picture

__all__ = ["DECODER_PARTS", "Network", "draw", "last_layer", "loss", "picture", "reconstruct"]  # most are a VQGAN's


def reconstruct(
    config: VQGANConfig,
    recipe: GumbelRecipe,
    params: Params,
    pixels: Float[Array, "B h w 3"],
    key: Array,
    step: Int[Array, ""],
    *,
    quantise: bool = True,
) -> Reconstruction:
    """The pictures as they come back through relaxed codes."""
    del quantise  # what is relaxed is never passed by
    logits = VQGAN(config).apply({"params": params}, encoder_pixels(config, pixels), method=VQGAN.logits)
    weights, side, metrics = relaxation.choose(config, recipe, jnp.asarray(logits), key, step)
    return Reconstruction(decoded(config, params, weights @ table(params)), side, metrics)
