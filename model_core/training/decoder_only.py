"""Trains what draws codes in the families that are one decoder: DALLE-pytorch, ruDALL-E and minDALL-E, Janus, LlamaGen.

Teacher-forced cross-entropy of every code, given the text and the codes before it. A family that scores text tokens
too (DALL·E's one stream) learns these beside, an eighth of the loss to seven eighths for the codes, as in Zero-Shot
Text-to-Image Generation (arXiv:2102.12092) and as DALLE-pytorch and ruDALL-E weigh them. Janus-Pro and LlamaGen learn
codes alone. A tenth of the captions becomes no text where the family knows one, for guidance, as LlamaGen's.

LlamaGen's captions come as the states of its T5, which stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from model_core.errors import InvalidValue
from model_core.families.dalle_gpt import family as dalle_gpt
from model_core.families.dalle_gpt.network import head
from model_core.families.dalle_gpt.sizes import DalleGptConfig
from model_core.families.in_training import asked_of
from model_core.families.protocol import Text
from model_core.training import sequences
from model_core.training.loop import Metrics, State
from model_core.training.recipe import SequenceRecipe
from model_core.training.sequences import Params, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderRecipe(SequenceRecipe):
    """Everything that decides how a decoder is trained."""

    learning_rate: float = 1e-4  # of LlamaGen and Janus-Pro; what goes on from a trained model needs no more
    text_weight: float = 0.125  # of the loss, for text tokens, in families that score them


@partial(jax.jit, static_argnames=("family", "config", "recipe"), donate_argnames="state")
def train_step(
    state: State, batch: Rows, key: Array, *, family: Any, config: Any, recipe: DecoderRecipe
) -> tuple[State, Metrics]:
    """One gradient step on a batch of `codes` [B, N] and the conditions `values` and `mask`, as the family has them."""
    batch = batch | sequences.noise_of_rows(recipe, key, len(batch["codes"]))
    return sequences.update(state, batch, partial(loss, family, config, recipe=recipe), recipe)


def loss(
    family: Any, config: Any, params: Params, rows: Rows, *, recipe: DecoderRecipe | None = None
) -> Float[Array, ""]:
    """Mean cross-entropy of codes, and of text tokens by `text_weight` where the family scores them.

    Args:
      recipe: says that, what the layers drop, and what of them is kept; None measures codes alone and drops nothing.
    """
    if recipe:
        params = asked_of(params, **sequences.asked_of_layers(recipe, rows))
    text_weight = recipe.text_weight if recipe else 0.0
    codes, values = jnp.asarray(rows["codes"], jnp.int32), jnp.asarray(rows["values"])
    if not isinstance(config, DalleGptConfig):
        return _of(family.logits(config, params, values, rows["mask"], codes[:, :-1]), codes)
    last = dalle_gpt.hidden_states(config, params, values, codes[:, :-1])[-1]
    of_codes = _of(head(config, params, last[:, config.stream_text - 1 :]), codes)
    if not (config.scores_text and text_weight):
        return of_codes
    stream = dalle_gpt.text_stream(config, values)
    of_text = _of(dalle_gpt.text_logits(config, params, last[:, : stream.shape[1] - 1]), stream[:, 1:])
    return text_weight * of_text + (1 - text_weight) * of_codes


def _of(logits: Float[Array, "B L C"], ids: Array) -> Float[Array, ""]:
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), ids).mean()


def random_params(family: Any, config: Any, seed: int) -> Params:
    """Fresh float32 parameters: norms and scales of ones, biases of zeros, all else normal by 0.02, as GPT-2's."""
    shapes = family.param_shapes(config)
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    keys = jax.random.split(jax.random.key(seed), len(leaves))

    def fresh(path: Any, leaf: Any, key: Array) -> Array:
        names = [str(step.key) for step in path]
        if names[-1] == "bias":
            return jnp.zeros(leaf.shape)
        if leaf.ndim == 1:
            return jnp.ones(leaf.shape)
        return 0.02 * jax.random.normal(key, leaf.shape)

    return jax.tree.unflatten(tree, [fresh(path, leaf, key) for (path, leaf), key in zip(leaves, keys, strict=True)])


def make_rows(
    codes: np.ndarray, prompts: Sequence[str], text: Text, recipe: DecoderRecipe, rng: np.random.Generator
) -> Rows:
    """These codes and conditions of their prompts; some prompts become no text, where the family knows one."""
    dropped = rng.random(len(prompts)) < recipe.prompt_dropout
    encoded = text.encode([(prompt, "" if drop else None) for prompt, drop in zip(prompts, dropped, strict=True)])
    conditions = [each.uncondition or each.condition for each in encoded]
    return {
        "codes": codes,
        "values": np.stack([each.values for each in conditions]),
        "mask": np.stack([each.mask for each in conditions]),
    }


def check(recipe: DecoderRecipe) -> None:
    """Checks the weights of the loss.

    Raises:
      InvalidValue: `text_weight` is no share.
    """
    if not 0 <= recipe.text_weight < 1:
        raise InvalidValue(f"text_weight must be a share, from 0 to below 1; got {recipe.text_weight}.", "text_weight")
