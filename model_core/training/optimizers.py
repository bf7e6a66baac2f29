"""How parameters follow gradients: AdamW, Adafactor, Muon, or Distributed Shampoo where it is installed.

Muon (Jordan et al. 2024, as optax has it) makes the momentum of each matrix orthogonal. By itself optax takes for
matrices what has two axes: here that would be embeddings, and the norms of stacked layers, and none of the stacked
kernels. `matrix_axes` says what is one. Updates are scaled as in Moonlight (arXiv:2502.16982), so that AdamW's learning
rates suit it; embeddings, norms and heads follow AdamW.
"""

from importlib import import_module
from typing import Any

import jax
import optax
from jaxtyping import Array, Float

from model_core.errors import InvalidValue
from model_core.training.recipe import SequenceRecipe
from model_core.training.schedules import learning_rate

OPTIMIZERS = ("adamw", "adafactor", "muon", "shampoo")
ADAMW_RMS = 0.2  # of its updates, which Muon's are scaled to
SHAMPOO = "precondition.distributed_shampoo"


def optimizer(recipe: SequenceRecipe) -> optax.GradientTransformationExtraArgs:
    """The recipe's optimizer: clipped gradients, a learning rate over time; `update` takes the loss as `value`.

    Raises:
      InvalidValue: the recipe names an optimizer or a schedule that is not known, or its warm-up is too long.
    """
    rate = learning_rate(recipe)
    clip = optax.clip_by_global_norm(recipe.clip_norm) if recipe.clip_norm else optax.identity()
    parts = [clip, _method(recipe, rate)]
    if recipe.schedule == "plateau":
        lower = optax.contrib.reduce_on_plateau(
            factor=recipe.plateau_factor, patience=recipe.plateau_patience, accumulation_size=recipe.plateau_window
        )
        parts.append(lower)
    return optax.with_extra_args_support(optax.chain(*parts))


def rate_in(recipe: SequenceRecipe, state: Any, step: Array) -> Float[Array, ""]:
    """The learning rate of a step, by the optimizer's state before it."""
    lowered = state[-1].scale if recipe.schedule == "plateau" else 1.0
    return jax.numpy.asarray(learning_rate(recipe)(step) * lowered, jax.numpy.float32)


def matrix_axes(params: Any) -> Any:
    """For each array Muon's dimension numbers, or None where it is no matrix between two layers.

    Kernels of Flax lie [..., in, out], leading axes counting layers; those of the other families lie [out…, in].
    """

    def axes(path: Any, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        names = [str(key.key) for key in path]
        if "layers" not in names or names[-1] in ("scale", "bias") or leaf.ndim < 2:
            return None
        if names[-1] == "kernel":
            return optax.contrib.MuonDimensionNumbers(reduction_axis=leaf.ndim - 2, output_axis=leaf.ndim - 1)
        return optax.contrib.MuonDimensionNumbers(reduction_axis=leaf.ndim - 1, output_axis=tuple(range(leaf.ndim - 1)))

    return jax.tree_util.tree_map_with_path(axes, params)


def _method(recipe: SequenceRecipe, rate: optax.Schedule) -> optax.GradientTransformation:
    match recipe.optimizer:
        case "adamw":
            return optax.adamw(rate, b1=recipe.beta1, b2=recipe.beta2, weight_decay=recipe.weight_decay)
        case "adafactor":
            # What optax takes here is the share of a weight that a step takes away, whatever the rate is.
            return optax.adafactor(rate, weight_decay_rate=lambda step: rate(step) * recipe.weight_decay)
        case "muon":
            return optax.contrib.muon(
                rate,
                weight_decay=recipe.weight_decay,
                adam_b1=recipe.beta1,
                adam_b2=recipe.beta2,
                adam_weight_decay=recipe.weight_decay,
                muon_weight_dimension_numbers=matrix_axes,
                consistent_rms=ADAMW_RMS,
            )
        case "shampoo":
            return _shampoo(recipe, rate)
    raise InvalidValue(f"optimizer is {recipe.optimizer!r}; there are {', '.join(OPTIMIZERS)}.", "optimizer")


def _shampoo(recipe: SequenceRecipe, rate: optax.Schedule) -> optax.GradientTransformation:
    """Distributed Shampoo (arXiv:2002.09018) with the settings of DALL·E mega's journal, on one device's own blocks."""
    try:
        package = import_module(SHAMPOO)
    except ImportError as error:
        raise InvalidValue(
            "optimizer shampoo needs a package that is not installed: pip install "
            "git+https://github.com/google-research/precondition (its release 0.3.0 is too old for this JAX). Without "
            "it there are adamw, adafactor and muon.",
            "optimizer",
        ) from error
    return package.distributed_shampoo(
        rate,
        block_size=2048,
        beta1=recipe.beta1,
        beta2=recipe.beta2,
        weight_decay=recipe.weight_decay,
        preconditioning_compute_steps=10,
        skip_preconditioning_dim_size_gt=4096,  # so that embeddings are left out
        graft_type=package.GraftingType.RMSPROP_NORMALIZED,
        nesterov=False,
        batch_axis_name=None,
    )
