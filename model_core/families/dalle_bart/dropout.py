"""Dropout in a DalleBart, for training alone: put behind modules from outside, which know nothing of it.

The places are those of dalle-mini 0.1.5: `dropout` behind the embeddings of each side, and of what attention and
feed-forward add to the stream; `activation_dropout` inside of the feed-forward, in front of its last product. Its
`attention_dropout`, of the weights of attention, is not there: DALL·E mini and mega have it at zero.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from model_core.families.dalle_bart.layers import GLU, DecoderLayer, EncoderLayer
from model_core.families.dalle_bart.network import Side

RNG = "dropout"

# What a module is a part of, and its name there → the share that its output loses.
_PLACES: dict[tuple[Any, str], str] = {
    (Side, "layernorm_embedding"): "dropout",
    (EncoderLayer, "LayerNorm_1"): "dropout",
    (EncoderLayer, "GLU_0"): "dropout",
    (DecoderLayer, "LayerNorm_1"): "dropout",
    (DecoderLayer, "LayerNorm_3"): "dropout",
    (DecoderLayer, "GLU_0"): "dropout",
    (GLU, "LayerNorm_1"): "activation_dropout",
}


def dropping(dropout: float, activation_dropout: float) -> AbstractContextManager[Any]:
    """While a network is called in this context, its modules drop; it must have noise of the name `RNG`."""
    shares = {"dropout": dropout, "activation_dropout": activation_dropout}
    if not any(shares.values()):
        return nullcontext()

    def drop(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        made, module = call(*args, **kwargs), context.module
        kind = _PLACES.get((type(module.parent), str(module.name))) if context.method_name == "__call__" else None
        share = shares[kind] if kind else 0.0
        if not share:
            return made
        kept = jax.random.bernoulli(module.make_rng(RNG), 1 - share, made.shape)
        return jnp.where(kept, made / (1 - share), 0).astype(made.dtype)

    return nn.intercept_methods(drop)
