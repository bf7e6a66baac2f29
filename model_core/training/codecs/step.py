"""One step for codecs of every kind: reconstruct, compare, listen to the adversary, follow the gradient."""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from model_core.codecs import CodecConfig
from model_core.training.codecs import adversary, codebook
from model_core.training.codecs.kinds import kind_of
from model_core.training.codecs.perceptual import Perceptual
from model_core.training.codecs.recipes import CodecRecipe, VQGANRecipe
from model_core.training.codecs.reconstruction import Reconstruction
from model_core.training.loop import Metrics, State
from model_core.training.schedules import check_warm_up

Params = dict[str, Any]


def optimizer(recipe: CodecRecipe) -> optax.GradientTransformation:
    """Adam with clipped gradients, linear warm-up and cosine decay."""
    check_warm_up(recipe)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, recipe.learning_rate, recipe.warm_up_steps, recipe.steps, end_value=recipe.learning_rate * 0.02
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b1=0.9, b2=0.99))


def initial_state(config: CodecConfig, recipe: CodecRecipe, params: Params | None = None) -> State:
    """The parameters given, or random ones; what follows them has seen nothing yet."""
    pixels, key = jnp.zeros((1, *config.size, 3)), jax.random.key(recipe.seed)
    random = jax.jit(kind_of(config).Network(config).init)  # one program, not hundreds
    start: Params = random(key, pixels)["params"] if params is None else params
    state: State = {"step": jnp.int32(0), "params": start, "optimizer": optimizer(recipe).init(start)}
    if isinstance(recipe, VQGANRecipe):
        state |= codebook.unmoved(start)
    return state | adversary.begin(recipe, recipe.crop)


def train_step(
    state: State,
    pixels: Float[Array | np.ndarray, "B h w 3"],
    key: Array,
    *,
    config: CodecConfig,
    recipe: CodecRecipe,
    quantise: bool = True,
    perceptual: Perceptual | None = None,
) -> tuple[State, Metrics]:
    """One gradient step for the networks, and one moving-average step for a codebook that has no gradient.

    Before its first step the adversary costs nothing: what is compiled does not have it.

    Args:
      quantise: False trains a VQGAN past its codes.
      perceptual: what the recipe's `perceptual_weight` is of.
    """
    listens = bool(recipe.adversarial_weight) and int(state["step"]) >= recipe.adversarial_from
    options = {"config": config, "recipe": recipe, "quantise": quantise, "listens": listens}
    return _train_step(state, pixels, key, perceptual, **options)


@partial(jax.jit, static_argnames=("config", "recipe", "quantise", "listens"), donate_argnames="state")
def _train_step(
    state: State,
    pixels: Float[Array, "B h w 3"],
    key: Array,
    perceptual: Perceptual | None,
    *,
    config: CodecConfig,
    recipe: CodecRecipe,
    quantise: bool,
    listens: bool,
) -> tuple[State, Metrics]:
    def reconstruct(params: Params) -> Reconstruction:
        return kind_of(config).reconstruct(config, recipe, params, pixels, key, state["step"], quantise=quantise)

    state, metrics, chosen = descend(
        state, reconstruct, pixels, optimizer(recipe), config, recipe, perceptual, listens=listens
    )
    if isinstance(recipe, VQGANRecipe) and chosen is not None:
        z, codes = (part.reshape(-1, *part.shape[3:]) for part in chosen)
        state = codebook.moved(state, recipe, z, codes, key)
        metrics["codes_used"] = jnp.mean(state["uses"] > recipe.restart_below)
    return state, metrics


def descend(
    state: State,
    reconstruct: Callable[[Params], Reconstruction],
    pixels: Float[Array, "B h w 3"],
    follow: optax.GradientTransformation,
    config: CodecConfig,
    recipe: CodecRecipe,
    perceptual: Perceptual | None,
    *,
    listens: bool,
) -> tuple[State, Metrics, Any]:
    """Follows the gradient of what `reconstruct` makes of the parameters; gives what it chose, too.

    Args:
      listens: whether there is an adversary by now.
    """
    kind = kind_of(config)

    def there_and_back(params: Params) -> tuple[tuple[Array, Array], tuple[Metrics, Any]]:
        made = reconstruct(params)
        return (made.out, made.side), (made.metrics, made.chosen)

    def compared(out: Array) -> tuple[Array, Metrics]:
        loss, metrics = kind.loss(recipe, out, pixels), {}
        if perceptual is not None:
            metrics["perceptual"] = perceptual.distance(kind.picture(out), pixels)
            loss += recipe.perceptual_weight * metrics["perceptual"]
        return loss, metrics

    (out, side), pull, (metrics, chosen) = jax.vjp(there_and_back, state["params"], has_aux=True)
    (loss, seen), of_out = jax.value_and_grad(compared, has_aux=True)(out)
    picture = kind.picture(out)
    metrics = metrics | seen | {"loss": loss + side, "psnr": -10 * jnp.log10(jnp.mean((picture - pixels) ** 2))}
    if listens:
        judge = state["adversary"]
        of_fooled = jax.grad(lambda out: adversary.fooled(recipe, judge["params"], kind.picture(out)))(out)

        def at_last_layer(of_out: Array) -> Array:
            (grads,) = pull((of_out, jnp.zeros_like(side)))  # XLA leaves out what nothing asks for
            return reduce(lambda tree, name: tree[name], kind.last_layer(config), grads)

        weight = recipe.adversarial_weight * adversary.balance(at_last_layer(of_out), at_last_layer(of_fooled))
        of_out += weight * of_fooled
        judge, metrics["adversary_loss"] = adversary.learned(recipe, judge, picture, pixels)
        metrics["adversary_weight"] = weight
        state = {**state, "adversary": judge}
    (grads,) = pull((of_out, jnp.ones_like(side)))
    updates, optimizer_state = follow.update(grads, state["optimizer"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    return {**state, "params": params, "optimizer": optimizer_state}, metrics, chosen
