"""DalleGpt, the family of decoder-only models: text and codes in one stream, as in the DALL·E of the paper.

DALLE-pytorch, ruDALL-E and minDALL-E. Pure functions of (config, params, arrays); the dtype of params is the dtype of
products. As a family (`families.protocol`) its conditions are token ids.

After Zero-Shot Text-to-Image Generation (arXiv:2102.12092), as the three publish it; see `network`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, Int

from model_core.families.conditions import Role
from model_core.families.dalle_gpt.config import read_config
from model_core.families.dalle_gpt.layout import layout
from model_core.families.dalle_gpt.network import head, param_shapes, text_stream
from model_core.families.dalle_gpt.sizes import DalleGptConfig
from model_core.families.dalle_gpt.step import (
    cutting,
    empty,
    feed,
    prefill,
    read_text,
    step,
    step_numbers,
    step_weights,
)
from model_core.families.dalle_gpt.text import open_text
from model_core.weights.sharding import CutAxes
from model_core.weights.weight_files import SAFETENSORS_WEIGHTS

__all__ = [
    "CUT_AXES",
    "WEIGHTS",
    "DalleGptConfig",
    "cutting",
    "empty",
    "hidden_states",
    "layout",
    "logits",
    "open_text",
    "param_shapes",
    "prefill",
    "published",
    "read_config",
    "read_text",
    "role_of",
    "step",
    "step_numbers",
    "step_weights",
    "text_logits",
    "text_stream",
]

WEIGHTS: tuple[str, ...] = (SAFETENSORS_WEIGHTS,)

# After Megatron-LM (arXiv:1909.08053): the wide side of the feed-forward and the heads' rows. Queries, keys and values
# are one array, of which a part would be no whole heads, so it stays whole.
CUT_AXES: CutAxes = (
    (r"feed_forward/out/weight", -1),
    (r"attention/out/weight", -1),
    (r"(text_head|head)/weight", -2),
    (r"embedding", -2),
    (r".*", None),
)

Params = dict[str, Any]
AnyArray = Array | np.ndarray


def role_of(name: str) -> Role:
    """Texts are read by what draws codes; the text stage has a tokenizer alone."""
    return "sampler"


def published(params: Params) -> dict[str, Any]:
    """Arrays by the names that `layout` reads besides the published ones: our own tree's."""
    return {name: np.asarray(leaf) for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}


@partial(jax.jit, static_argnums=0)
def logits(
    config: DalleGptConfig,
    params: Params,
    values: Int[AnyArray, "B T"],
    mask: Int[AnyArray, "B T"],
    codes: Int[AnyArray, "B L"],
) -> Float[Array, "B L+1 C"]:
    """Scores every code of images given those before it: row i is for code i."""
    first, x = _passed(config, params, values, mask, codes, lambda x: None)
    return jnp.concatenate([first[:, None], head(config, params, x)], axis=1)


@partial(jax.jit, static_argnums=0)
def hidden_states(
    config: DalleGptConfig, params: Params, values: Int[AnyArray, "B T"], codes: Int[AnyArray, "B L"]
) -> list[Float[Array, "B S D"]]:
    """What goes into each attention and each feed-forward, and what comes out of the last, all over the stream."""
    seen: list[Array] = []
    _passed(config, params, values, jnp.ones_like(values), codes, seen.append)
    of_text, of_codes = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    return [jnp.concatenate(pair, axis=1) for pair in zip(of_text, of_codes, strict=True)]


@partial(jax.jit, static_argnums=0)
def text_logits(config: DalleGptConfig, params: Params, last: Float[Array, "B S D"]) -> Float[Array, "B S V"]:
    """Scores text tokens, given the last of `hidden_states`: row i is for the token behind position i of the stream."""
    return head(config, params, last, "text_head")


def _passed(config, params, values, mask, codes, watch):
    """The first code's scores, and what comes out of the last layer for `codes`."""
    codes = jnp.asarray(codes)
    text = read_text(config, params, values, mask, watch)
    begun = prefill(config, params, text, codes[:, :0])
    x, _ = feed(config, params, begun, codes, jnp.zeros(len(codes), jnp.int32), config.grid.num_codes, watch)
    return text.first, x
