"""An adversary: a discriminator that judges patches, and that the decoder learns to fool.

As in "Taming Transformers" (Esser et al. 2021, arXiv:2012.09841): the PatchGAN of Isola et al. (arXiv:1611.07004) with
a hinge loss. The decoder listens to it as much as to the reconstruction: the weight is the ratio of the two gradients'
norms at the last layer.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from model_core.errors import InvalidValue
from model_core.training.codecs.recipes import CodecRecipe
from model_core.training.loop import State

HIGHEST_WEIGHT = 1e4
_WIDEST = 8  # times the width of the first layer


class Discriminator(nn.Module):
    """Pixels in 0…1 to one number for each patch: above 0 where it looks real."""

    width: int
    layers: int

    @nn.compact
    def __call__(self, pixels: Float[Array, "B h w 3"]) -> Float[Array, "B rows columns"]:
        conv = partial(nn.Conv, kernel_size=(4, 4), padding=1, kernel_init=nn.initializers.normal(0.02))
        x = nn.leaky_relu(conv(self.width, strides=2, name="conv_0")(2 * pixels - 1), 0.2)
        for i in range(1, self.layers + 1):
            width, strides = self.width * min(2**i, _WIDEST), 1 if i == self.layers else 2
            x = conv(width, strides=strides, use_bias=False, name=f"conv_{i}")(x)
            x = nn.BatchNorm(use_running_average=False, name=f"norm_{i}")(x)
            x = nn.leaky_relu(x, 0.2)
        return conv(1, name="conv_out")(x)[..., 0]


def begin(recipe: CodecRecipe, side: int) -> State:
    """What a state holds of an adversary, `adversary`; nothing where the recipe has none.

    Args:
      side: of the smallest pictures that it will judge, in pixels.

    Raises:
      InvalidValue: the recipe's weight is below 0, or its layers leave nothing of such a picture.
    """
    if recipe.adversarial_weight < 0:
        raise InvalidValue(
            f"adversarial_weight must be 0 or more; got {recipe.adversarial_weight}.", "adversarial_weight"
        )
    if not recipe.adversarial_weight:
        return {}
    layers = recipe.adversary_layers
    if layers < 1 or side < 3 * 2**layers:
        raise InvalidValue(
            f"adversary_layers is {layers}; it must be at least 1, and 3 · 2 ** layers at most the {side} pixels of "
            "the pictures that are judged, or no patch of them is left.",
            "adversary_layers",
        )
    params = jax.jit(_network(recipe).init)(jax.random.key(recipe.seed), jnp.zeros((1, side, side, 3)))["params"]
    return {"adversary": {"params": params, "optimizer": _optimizer(recipe).init(params)}}


def fooled(recipe: CodecRecipe, params: Any, pixels: Float[Array, "B h w 3"]) -> Float[Array, ""]:
    """What the decoder minimises: how fake its pictures look."""
    return -jnp.mean(_judge(recipe, params, pixels))


def balance(of_loss: Float[Array, "..."], of_fooled: Float[Array, "..."]) -> Float[Array, ""]:
    """The weight that makes two gradients of the last layer equally long; 10⁴ at most."""
    ratio = jnp.linalg.norm(of_loss.reshape(-1)) / (jnp.linalg.norm(of_fooled.reshape(-1)) + 1e-4)
    return jnp.minimum(ratio, HIGHEST_WEIGHT)


def learned(
    recipe: CodecRecipe, adversary: State, fake: Float[Array, "B h w 3"], real: Float[Array, "B h w 3"]
) -> tuple[State, Float[Array, ""]]:
    """One gradient step of the discriminator; its hinge loss before it, 1 where it knows nothing."""

    def hinge(params: Any) -> Float[Array, ""]:
        of_real, of_fake = (_judge(recipe, params, pixels) for pixels in (real, jax.lax.stop_gradient(fake)))
        return (jnp.mean(nn.relu(1 - of_real)) + jnp.mean(nn.relu(1 + of_fake))) / 2

    loss, grads = jax.value_and_grad(hinge)(adversary["params"])
    updates, optimizer_state = _optimizer(recipe).update(grads, adversary["optimizer"], adversary["params"])
    return {"params": optax.apply_updates(adversary["params"], updates), "optimizer": optimizer_state}, loss


def _network(recipe: CodecRecipe) -> Discriminator:
    return Discriminator(recipe.adversary_width, recipe.adversary_layers)


def _judge(recipe: CodecRecipe, params: Any, pixels: Float[Array, "B h w 3"]) -> Float[Array, "B rows columns"]:
    """Normalised by the batch that is judged: real and fake ones come each by themselves."""
    judged, _ = _network(recipe).apply({"params": params}, pixels, mutable=["batch_stats"])
    return jnp.asarray(judged)


def _optimizer(recipe: CodecRecipe) -> optax.GradientTransformation:
    return optax.adam(recipe.adversary_learning_rate, b1=0.5, b2=0.9)
