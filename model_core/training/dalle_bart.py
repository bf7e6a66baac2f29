"""Trains a DalleBart on (prompt, image codes) pairs.

Cross-entropy of every code given the codes before it. Some prompts are dropped, so that the model also learns the
unconditional distribution that guidance needs. Some input codes are corrupted: a decoder that is always shown the true
codes before a position learns to continue pictures and to ignore the text; one that can't trust them reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart.family import DalleBartConfig, Params
from model_core.tokenizer import Tokenizer
from model_core.training import sequences
from model_core.training.loop import Metrics, State
from model_core.training.recipe import SequenceRecipe
from model_core.training.sequences import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class DalleBartRecipe(SequenceRecipe):
    """Everything that decides how the DalleBart is trained."""

    heavy_share: float = 0.5  # of the sequences lose 40–100 % of their input codes …
    light_corruption: float = 0.1  # … the others this share
    clean_fraction: float = 0.15  # of the steps, at the end, over which corruption fades to nothing


def initial_state(config: DalleBartConfig, recipe: DalleBartRecipe, params: Params | None = None) -> State:
    """The parameters given, or random ones, and a moving average that starts at them."""
    random = jax.jit(partial(dalle_bart.init_params, config))
    return sequences.initial_state(recipe, random(jax.random.key(recipe.seed)) if params is None else params)


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
    state: State, batch: Rows, key: Array, *, config: DalleBartConfig, recipe: DalleBartRecipe
) -> tuple[State, Metrics]:
    """One gradient step on a batch of `codes` [B, N], `text_tokens` [B, T] and `text_mask` [B, T].

    Where it has `positions` and `weights` [B, L] too, only the codes there are trained on: see `loss`.
    """
    codes = jnp.asarray(batch["codes"], jnp.int32)
    shares_key, corrupt_key = jax.random.split(key)
    shares = corruption_shares(recipe, len(codes), state["step"], shares_key)
    shown = corrupt(codes, config.decoder_start_token_id, shares, corrupt_key)
    rows = {**batch, "shown": shown, "codes": codes, **sequences.noise_of_rows(recipe, key, len(codes))}
    return sequences.update(state, rows, partial(loss, config, recipe=recipe), recipe)


def loss(
    config: DalleBartConfig, params: Params, rows: Rows, *, recipe: DalleBartRecipe | None = None
) -> Float[Array, ""]:
    """Mean cross-entropy of `codes`, each given the text and the codes before it, or those `shown` in their place.

    Where `rows` has `positions` [B, L], rising in each row, only the codes there are fed and told; each counts for as
    many of the picture's as `weights` [B, L] says.

    Args:
      recipe: says what the layers drop, and what of them is kept; None drops nothing.
    """
    asked = sequences.asked_of_layers(recipe, rows) if recipe else {}
    shown = jnp.asarray(rows.get("shown", rows["codes"]))
    fed = jnp.pad(shown[:, :-1], ((0, 0), (1, 0)), constant_values=config.decoder_start_token_id)
    codes, positions = jnp.asarray(rows["codes"]), rows.get("positions")
    if positions is not None:
        fed, codes = (jnp.take_along_axis(each, positions, axis=1) for each in (fed, codes))
    logits = dalle_bart.forward(
        config, params, rows["text_tokens"], rows["text_mask"], fed, positions=positions, **asked
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), codes)
    return losses.mean() if positions is None else (losses * rows["weights"]).sum() / rows["codes"].size


def make_rows(
    codes: Int[np.ndarray, "B N"],
    prompts: Sequence[str],
    tokenizer: Tokenizer,
    recipe: DalleBartRecipe,
    text_length: int,
    rng: np.random.Generator,
) -> Rows:
    """These codes, with tokens of their prompts; some prompts dropped."""
    text_tokens, text_mask = tokenizer(list(prompts))
    empty_tokens, empty_mask = tokenizer.unconditional(len(prompts))
    dropped = (rng.random(len(prompts)) < recipe.prompt_dropout)[:, None]
    return {
        "codes": codes,
        "text_tokens": np.where(dropped, empty_tokens, text_tokens)[:, :text_length],
        "text_mask": np.where(dropped, empty_mask, text_mask)[:, :text_length],
    }
