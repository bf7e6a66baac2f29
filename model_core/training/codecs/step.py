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

    def compared(out: Array) -> tuple[Array, Metrics]:
        loss, metrics = kind.loss(recipe, out, pixels), {}
        if perceptual is not None:
            metrics["perceptual"] = perceptual.distance(kind.picture(out), pixels)
            loss += recipe.perceptual_weight * metrics["perceptual"]
        return loss, metrics

    def fooled(out: Array) -> Array:
        return adversary.fooled(recipe, state["adversary"]["params"], kind.picture(out))

    def balance() -> Array:
        """How much the adversary weighs; XLA computes what comes back once, here and below."""
        place = kind.last_layer(config)
        kernel = reduce(lambda tree, name: tree[name], place, state["params"])
        out, pull = jax.vjp(lambda kernel: reconstruct(_replaced(state["params"], place, kernel)).out, kernel)
        of_loss, of_fooled = (jax.grad(of)(out) for of in (lambda out: compared(out)[0], fooled))
        return recipe.adversarial_weight * adversary.balance(*pull(of_loss), *pull(of_fooled))

    def minimised(params: Params) -> tuple[Array, tuple[Metrics, Array, Any]]:
        made = reconstruct(params)
        loss, seen = compared(made.out)
        loss += made.side
        psnr = -10 * jnp.log10(jnp.mean((kind.picture(made.out) - pixels) ** 2))
        told = (metrics | made.metrics | seen | {"loss": loss, "psnr": psnr}, made.out, made.chosen)
        return loss + metrics["adversary_weight"] * fooled(made.out) if listens else loss, told

    metrics = {"adversary_weight": balance()} if listens else {}
    (_, (metrics, out, chosen)), grads = jax.value_and_grad(minimised, has_aux=True)(state["params"])
    if listens:
        judge, metrics["adversary_loss"] = adversary.learned(recipe, state["adversary"], kind.picture(out), pixels)
        state = {**state, "adversary": judge}
    updates, optimizer_state = follow.update(grads, state["optimizer"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    return {**state, "params": params, "optimizer": optimizer_state}, metrics, chosen


def _replaced(params: Params, place: tuple[str, ...], leaf: Array) -> Params:
    """The same tree with another leaf at a place."""
    first, *rest = place
    return {**params, first: _replaced(params[first], tuple(rest), leaf) if rest else leaf}
