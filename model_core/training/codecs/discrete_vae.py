"""DALLE-pytorch's DiscreteVAE: codes drawn from logits, relaxed; pictures compared in -1…1.

Source of the method: lucidrains/DALLE-pytorch (`DiscreteVAE`, `train_vae.py`). There the KL is a sum over a whole
batch; here it is counted as in the paper of DALL·E, so that its weight means the same for any size.
"""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from model_core.codecs.discrete_vae import DiscreteVAE, DiscreteVAEConfig, Params
from model_core.errors import InvalidValue
from model_core.training.codecs import relaxation
from model_core.training.codecs.recipes import DiscreteVAERecipe
from model_core.training.codecs.reconstruction import Reconstruction

DECODER_PARTS = ("decoder", "codebook")
LOSSES = {"mse": optax.squared_error, "smooth_l1": optax.huber_loss}
Network = DiscreteVAE


def reconstruct(
    config: DiscreteVAEConfig,
    recipe: DiscreteVAERecipe,
    params: Params,
    pixels: Float[Array, "B h w 3"],
    key: Array,
    step: Int[Array, ""],
    *,
    quantise: bool = True,
) -> Reconstruction:
    """The pictures as they come back through relaxed codes."""
    del quantise  # what is relaxed is never passed by
    model = DiscreteVAE(config)
    logits = jnp.asarray(model.apply({"params": params}, pixels, method=DiscreteVAE.logits))
    weights, side, metrics = relaxation.choose(config, recipe, logits, key, step)
    vectors = weights @ params["codebook"]["embedding"]
    out = model.apply({"params": params}, vectors, method=DiscreteVAE.pixels)
    return Reconstruction(jnp.asarray(out), side, metrics)


def draw(config: DiscreteVAEConfig, params: Params, codes: Int[Array, "B rows columns"]) -> Float[Array, "B h w 3"]:
    """The pictures of codes, for training the decoder alone."""
    return jnp.asarray(DiscreteVAE(config).apply({"params": params}, codes, method=DiscreteVAE.decode))


def loss(recipe: DiscreteVAERecipe, out: Float[Array, "B h w 3"], pixels: Float[Array, "B h w 3"]) -> Float[Array, ""]:
    """The mean error of pixels in -1…1, squared or, with "smooth_l1", squared below 1 and absolute above.

    Raises:
      InvalidValue: the recipe names another loss.
    """
    if recipe.loss not in LOSSES:
        raise InvalidValue(f"loss is {recipe.loss!r}; there are {', '.join(LOSSES)}.", "loss")
    return jnp.mean(LOSSES[recipe.loss](2 * out, 2 * pixels))


def picture(out: Float[Array, "B h w 3"]) -> Float[Array, "B h w 3"]:
    """What the network gives is the picture."""
    return out


def last_layer(config: DiscreteVAEConfig) -> tuple[str, ...]:
    """Where the kernel lies that makes pixels."""
    before = config.num_layers + config.num_resnet_blocks + bool(config.num_resnet_blocks)
    return ("decoder", str(before), "kernel")
