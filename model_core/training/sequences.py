"""What the training of every family shares: the rows of a batch, one step, and the averaged parameters.

A prompt that describes several pictures is seen a few times only, each time with one of them by chance, and the model
takes chance for knowledge: it prefers those that it saw more often or later. A batch with all of them has no such
noise.
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from model_core.errors import InvalidValue
from model_core.training.data import Item, draw_prompt
from model_core.training.gradients import mean_gradient
from model_core.training.loop import Metrics, State
from model_core.training.optimizers import optimizer, rate_in
from model_core.training.recipe import SequenceRecipe

NOISE = "noise"
_OF_DROPOUT = 7  # tells its noise from that of the corruption of the input

Params = dict[str, Any]
Rows = dict[str, Array | np.ndarray]


def initial_state(recipe: SequenceRecipe, start: Params) -> State:
    """These parameters, and a moving average that starts at them."""
    return {
        "step": jnp.int32(0),
        "params": start,
        "ema": jax.tree.map(jnp.array, start),
        "optimizer": optimizer(recipe).init(start),
    }


def update(
    state: State, rows: Rows, loss_fn: Callable[[Params, Rows], Float[Array, ""]], recipe: SequenceRecipe
) -> tuple[State, Metrics]:
    """One gradient step on the mean loss of `rows`, a batch or, where it has grown, a multiple of one."""
    count = len(jax.tree.leaves(rows)[0])
    pieces = recipe.accumulation * max(1, count // recipe.batch_size)
    loss, grads = mean_gradient(loss_fn, state["params"], rows, pieces=pieces, dtype=recipe.dtype)
    updates, optimizer_state = optimizer(recipe).update(grads, state["optimizer"], state["params"], value=loss)
    params = optax.apply_updates(state["params"], updates)
    # The average starts fast, so that a short run is not mostly its beginning.
    decay = jnp.minimum(recipe.ema_decay, (1 + state["step"]) / (10 + state["step"]))
    ema = jax.tree.map(lambda old, new: old * decay + new * (1 - decay), state["ema"], params)
    rate = rate_in(recipe, state["optimizer"], state["step"])
    metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads), "learning_rate": rate}
    return {**state, "params": params, "ema": ema, "optimizer": optimizer_state}, metrics


def noise_of_rows(recipe: SequenceRecipe, key: Array, count: int) -> Rows:
    """A key of dropout for each of `count` rows, of which each piece of a batch takes its first; nothing without."""
    if not (recipe.dropout or recipe.activation_dropout):
        return {}
    return {NOISE: jax.random.split(jax.random.fold_in(key, _OF_DROPOUT), count)}


def asked_of_layers(recipe: SequenceRecipe, rows: Rows) -> dict[str, Any]:
    """What a recipe asks of the layers of a network, by the names that `in_training` and `dalle_bart.forward` have."""
    return {
        "key": rows[NOISE][0] if NOISE in rows else None,
        "dropout": recipe.dropout,
        "activation_dropout": recipe.activation_dropout,
        "remat": recipe.remat,
    }


def pictures_of_prompts(items: Sequence[Item]) -> dict[str, list[int]]:
    """The places in `items` of the pictures that each prompt describes."""
    pictures: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        for prompt, _ in item.prompts:
            pictures.setdefault(prompt, []).append(place)
    return pictures


def draw_rows(
    items: Sequence[Item],
    pictures: dict[str, list[int]] | None,
    recipe: SequenceRecipe,
    rng: np.random.Generator,
    count: int | None = None,
) -> list[tuple[int, str]]:
    """Draws a picture, a prompt of it and other pictures of the prompt, until there are `count` (place, prompt).

    The pictures of one prompt are not one after the other, but take turns: corruption mixes each row with the next.

    Args:
      pictures: of each prompt; not needed where `pictures_per_prompt` is 1.
      count: else `batch_size`.
    """
    groups: list[list[tuple[int, str]]] = []
    missing = recipe.batch_size if count is None else count
    while missing:
        places = [int(rng.integers(len(items)))]
        prompt = draw_prompt(items[places[0]], rng)
        if pictures:
            places += rng.permutation([place for place in pictures[prompt] if place != places[0]]).tolist()
        places = places[: min(recipe.pictures_per_prompt, missing)]
        groups.append([(place, prompt) for place in places])
        missing -= len(places)
    return [row for turn in zip_longest(*groups) for row in turn if row]


def check(recipe: SequenceRecipe) -> None:
    """Raises InvalidValue where `pictures_per_prompt` is less than one, or a dropout is no share."""
    if recipe.pictures_per_prompt < 1:
        raise InvalidValue(
            f"pictures_per_prompt must be at least 1; got {recipe.pictures_per_prompt}.", "pictures_per_prompt"
        )
    for name in ("dropout", "activation_dropout"):
        if not 0 <= (share := getattr(recipe, name)) < 1:
            raise InvalidValue(f"{name} must be a share, from 0 to below 1; got {share}.", name)
