"""A VQGAN that takes the nearest code: reconstruction, with the gradient straight through the choice.

Paper: Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis", arXiv:2012.09841. The codebook
follows by moving averages (`codebook.py`) rather than by gradients.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model_core.codecs.vqgan import Params, VQGANConfig, encoder_pixels, in_unit_range
from model_core.codecs.vqgan_network import VQGAN
from model_core.training.codecs.codebook import table
from model_core.training.codecs.losses import reconstruction_loss
from model_core.training.codecs.recipes import GumbelRecipe, VQGANRecipe
from model_core.training.codecs.reconstruction import Reconstruction

DECODER_PARTS = ("decoder", "post_quant_conv")
Network = VQGAN


def reconstruct(
    config: VQGANConfig,
    recipe: VQGANRecipe,
    params: Params,
    pixels: Float[Array, "B h w 3"],
    key: Array,
    step: Int[Array, ""],
    *,
    quantise: bool,
) -> Reconstruction:
    """The pictures as they come back, through the codes or, without `quantise`, past them."""
    del key, step  # nothing is drawn, and nothing changes over a run
    model = VQGAN(config)
    z = jnp.asarray(model.apply({"params": params}, encoder_pixels(config, pixels), method=VQGAN.features))
    if not quantise:
        return Reconstruction(decoded(config, params, z), jnp.zeros(()), {})
    codes = jnp.asarray(model.apply({"params": params}, jax.lax.stop_gradient(z), method=lambda m, z: m.quantize(z)))
    nearest = jax.lax.stop_gradient(table(params))[codes]
    side = recipe.commitment * jnp.mean((z - nearest) ** 2)
    chosen = z + jax.lax.stop_gradient(nearest - z)  # straight-through
    return Reconstruction(decoded(config, params, chosen), side, {}, (z, codes))


def decoded(config: VQGANConfig, params: Params, vectors: Float[Array, "B rows columns E"]) -> Float[Array, "B h w 3"]:
    """The pictures of vectors, about 0…1."""
    return in_unit_range(config, VQGAN(config).apply({"params": params}, vectors, method=VQGAN.pixels))


def draw(config: VQGANConfig, params: Params, codes: Int[Array, "B rows columns"]) -> Float[Array, "B h w 3"]:
    """The pictures of codes, for training the decoder alone."""
    return in_unit_range(config, VQGAN(config).apply({"params": params}, codes, method=VQGAN.decode))


def loss(
    recipe: VQGANRecipe | GumbelRecipe, out: Float[Array, "B h w 3"], pixels: Float[Array, "B h w 3"]
) -> Float[Array, ""]:
    """How far the pictures are from those that they should be."""
    return reconstruction_loss(out, pixels, recipe.edges)


def picture(out: Float[Array, "B h w 3"]) -> Float[Array, "B h w 3"]:
    """What the network gives is the picture."""
    return out


def last_layer(config: VQGANConfig) -> tuple[str, ...]:
    """Where the kernel lies that makes pixels."""
    return ("decoder", "conv_out", "kernel")
