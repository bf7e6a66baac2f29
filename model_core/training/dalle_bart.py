"""Trains a DalleBart on (prompt, image codes) pairs.

Cross-entropy of every code given the codes before it. Some prompts are dropped, so that the model also learns the
unconditional distribution that guidance needs. Some input codes are corrupted: a decoder that is always shown the true
codes before a position learns to continue pictures and to ignore the text; one that can't trust them reads it.

A prompt that describes several pictures is seen a few times only, each time with one of them by chance, and the model
takes chance for knowledge: it prefers those that it saw more often or later. A batch with all of them has no such
noise.
"""

from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from model_core.errors import InvalidValue
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart.family import DalleBartConfig, Params
from model_core.tokenizer import Tokenizer
from model_core.training.data import Item, draw_prompt
from model_core.training.gradients import mean_gradient
from model_core.training.loop import LoopConfig, Metrics, State, check_warm_up, train

Batch = dict[str, Array | np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class DalleBartRecipe:
    """Everything that decides how the DalleBart is trained."""

    steps: int = 10_000
    batch_size: int = 16
    optimizer: str = "adamw"  # or "adafactor", the reference's
    learning_rate: float = 2e-3
    warm_up_steps: int = 200
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    pictures_per_prompt: int = 1  # so many that a prompt describes are in a batch together, where it describes so many
    prompt_dropout: float = 0.1  # of the prompts become empty
    heavy_share: float = 0.5  # of the sequences lose 40–100 % of their input codes …
    light_corruption: float = 0.1  # … the others this share
    clean_fraction: float = 0.15  # of the steps, at the end, over which corruption fades to nothing
    accumulation: int = 1  # pieces that a batch is cut into, one after another
    remat: bool = False  # compute activations again rather than keep them
    dtype: str = "auto"  # bfloat16 on accelerators, float32 on CPUs; parameters and optimizer are float32
    seed: int = 0


def optimizer(recipe: DalleBartRecipe) -> optax.GradientTransformation:
    """The recipe's optimizer with clipped gradients, linear warm-up and linear decay.

    Raises:
      InvalidValue: the recipe names an optimizer that is not known, or its warm-up is too long.
    """
    check_warm_up(recipe)
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, recipe.learning_rate, recipe.warm_up_steps),
            optax.linear_schedule(
                recipe.learning_rate, recipe.learning_rate * 0.01, recipe.steps - recipe.warm_up_steps
            ),
        ],
        [recipe.warm_up_steps],
    )
    if recipe.optimizer == "adamw":
        method = optax.adamw(schedule, b1=0.9, b2=0.98, weight_decay=recipe.weight_decay)
    elif recipe.optimizer == "adafactor":
        method = optax.adafactor(schedule, weight_decay_rate=recipe.weight_decay)
    else:
        raise InvalidValue(f"optimizer is {recipe.optimizer!r}; there are 'adamw' and 'adafactor'.", "optimizer")
    return optax.chain(optax.clip_by_global_norm(1.0), method)


def initial_state(config: DalleBartConfig, recipe: DalleBartRecipe, params: Params | None = None) -> State:
    """The parameters given, or random ones, and a moving average that starts at them."""
    random = jax.jit(partial(dalle_bart.init_params, config))
    start: Params = random(jax.random.key(recipe.seed)) if params is None else params
    return {
        "step": jnp.int32(0),
        "params": start,
        "ema": jax.tree.map(jnp.array, start),
        "optimizer": optimizer(recipe).init(start),
    }


def corrupt(codes: Int[Array, "B N"], start: int, share: Float[Array, " B"], key: Array) -> Int[Array, "B N"]:
    """Replaces about `share` of each row's codes, half by the start id, half by the next row's codes at that place."""
    where, how = jax.random.split(key)
    replaced = jax.random.uniform(where, codes.shape) < share[:, None]
    blank = jax.random.bernoulli(how, 0.5, codes.shape)
    return jnp.where(replaced, jnp.where(blank, start, jnp.roll(codes, 1, axis=0)), codes)


def corruption_shares(recipe: DalleBartRecipe, batch: int, step: Array, key: Array) -> Float[Array, " B"]:
    """How much of each sequence to corrupt: much for some, little for the others, none at the very end."""
    heavy, amount = jax.random.split(key)
    share = jnp.where(
        jax.random.bernoulli(heavy, recipe.heavy_share, (batch,)),
        jax.random.uniform(amount, (batch,), minval=0.4, maxval=1.0),
        recipe.light_corruption,
    )
    left = (recipe.steps - step) / max(recipe.steps * recipe.clean_fraction, 1)
    return share * jnp.clip(left, 0.0, 1.0)


@partial(jax.jit, static_argnames=("config", "recipe"), donate_argnames="state")
def train_step(
    state: State, batch: Batch, key: Array, *, config: DalleBartConfig, recipe: DalleBartRecipe
) -> tuple[State, Metrics]:
    """One gradient step on a batch of `codes` [B, N], `text_tokens` [B, T] and `text_mask` [B, T]."""
    codes = jnp.asarray(batch["codes"], jnp.int32)
    shares_key, corrupt_key = jax.random.split(key)
    shares = corruption_shares(recipe, len(codes), state["step"], shares_key)
    start = config.decoder_start_token_id
    shown = corrupt(codes, start, shares, corrupt_key)
    decoder_codes = jnp.pad(shown[:, :-1], ((0, 0), (1, 0)), constant_values=start)

    rows = {name: batch[name] for name in ("text_tokens", "text_mask")} | {"shown": decoder_codes, "codes": codes}

    def loss_fn(params: Params, rows: dict[str, Array]) -> Array:
        tokens, mask = rows["text_tokens"], rows["text_mask"]
        logits = dalle_bart.forward(config, params, tokens, mask, rows["shown"], remat=recipe.remat)
        return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), rows["codes"]).mean()

    loss, grads = mean_gradient(loss_fn, state["params"], rows, pieces=recipe.accumulation, dtype=recipe.dtype)
    updates, optimizer_state = optimizer(recipe).update(grads, state["optimizer"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    # The average starts fast, so that a short run is not mostly its beginning.
    decay = jnp.minimum(recipe.ema_decay, (1 + state["step"]) / (10 + state["step"]))
    ema = jax.tree.map(lambda old, new: old * decay + new * (1 - decay), state["ema"], params)
    metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
    return {**state, "params": params, "ema": ema, "optimizer": optimizer_state}, metrics


def pictures_of_prompts(items: list[Item]) -> dict[str, list[int]]:
    """The places in `items` of the pictures that each prompt describes."""
    pictures: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        for prompt, _ in item.prompts:
            pictures.setdefault(prompt, []).append(place)
    return pictures


def draw_rows(
    items: list[Item], pictures: dict[str, list[int]], recipe: DalleBartRecipe, rng: np.random.Generator
) -> list[tuple[int, str]]:
    """Draws a picture, a prompt of it and other pictures of the prompt, until there are `batch_size` (place, prompt).

    The pictures of one prompt are not one after the other, but take turns: corruption mixes each row with the next.
    """
    groups: list[list[tuple[int, str]]] = []
    missing = recipe.batch_size
    while missing:
        first = int(rng.integers(len(items)))
        prompt = draw_prompt(items[first], rng)
        others = rng.permutation([place for place in pictures[prompt] if place != first]).tolist()
        places = [first, *others][: min(recipe.pictures_per_prompt, missing)]
        groups.append([(place, prompt) for place in places])
        missing -= len(places)
    return [row for turn in zip_longest(*groups) for row in turn if row]


def make_batch(
    items: list[Item],
    pictures: dict[str, list[int]],
    codes: Int[np.ndarray, "M N"],
    tokenizer: Tokenizer,
    recipe: DalleBartRecipe,
    text_length: int,
    rng: np.random.Generator,
) -> Batch:
    """The codes of `draw_rows`, with tokens of the prompts; some prompts dropped."""
    rows = draw_rows(items, pictures, recipe, rng)
    chosen, prompts = [place for place, _ in rows], [prompt for _, prompt in rows]
    text_tokens, text_mask = tokenizer(prompts)
    empty_tokens, empty_mask = tokenizer.unconditional(recipe.batch_size)
    dropped = (rng.random(recipe.batch_size) < recipe.prompt_dropout)[:, None]
    return {
        "codes": codes[chosen],
        "text_tokens": np.where(dropped, empty_tokens, text_tokens)[:, :text_length],
        "text_mask": np.where(dropped, empty_mask, text_mask)[:, :text_length],
    }


def train_dalle_bart(
    items: list[Item],
    codes: Int[np.ndarray, "M N"],
    tokenizer: Tokenizer,
    folder: Path,
    config: DalleBartConfig,
    recipe: DalleBartRecipe,
    loop: LoopConfig | None = None,
    params: Params | None = None,
    **hooks: Any,
) -> Params:
    """Trains on `codes[i]` described by `items[i]` until `recipe.steps`; returns the averaged parameters.

    Starts with `params`, or with random ones.

    Raises:
      InvalidValue: `pictures_per_prompt` is less than one.
    """
    if recipe.pictures_per_prompt < 1:
        raise InvalidValue(
            f"pictures_per_prompt must be at least 1; got {recipe.pictures_per_prompt}.", "pictures_per_prompt"
        )
    pictures = pictures_of_prompts(items)
    return train(
        folder,
        loop or LoopConfig(steps=recipe.steps, seed=recipe.seed),
        initial_state(config, recipe, params),
        lambda rng, _step: make_batch(items, pictures, codes, tokenizer, recipe, config.max_text_length, rng),
        partial(train_step, config=config, recipe=recipe),
        name="DalleBart",
        **hooks,
    )["ema"]
