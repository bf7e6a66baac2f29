"""Janus and Janus-Pro drawing: a language model that reads the prompt and goes on with image codes.

As a family (`families.protocol`) its conditions are token ids, which the sampler reads itself. Codes have embeddings of
their own, brought to the model's width by an aligner, and a head of their own. What is for understanding pictures is
not loaded.

After Janus-Pro (arXiv:2501.17811) as transformers' `models/janus` and deepseek-ai/Janus compute it.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, Int, Shaped

from model_core.families.conditions import Role, StepNumbers
from model_core.families.keys_values import visible
from model_core.families.llama import blocks
from model_core.families.llama import step as steps
from model_core.families.llama.blocks import Rotary, block_shapes, linear
from model_core.families.llama.janus.config import JanusConfig, read_config
from model_core.families.llama.janus.layout import NAMES, layout
from model_core.families.llama.janus.text import open_text
from model_core.families.llama.layout import published_arrays
from model_core.families.llama.step import Front, State, Text
from model_core.weights.sharding import CutAxes
from model_core.weights.weight_files import SAFETENSORS_INDEX, SAFETENSORS_WEIGHTS

__all__ = ["CUT_AXES", "WEIGHTS", "JanusConfig", "layout", "open_text", "read_config"]

WEIGHTS: tuple[str, ...] = (SAFETENSORS_WEIGHTS, SAFETENSORS_INDEX)
CUT_AXES: CutAxes = (
    *blocks.CUT_AXES,
    (r"words", -1),  # [V, D]
    (r"codes", None),  # [C, 8]
    (r"aligner/\d/kernel", None),  # a few millions: not worth the sums across devices
    (r"head/0/kernel", None),
    (r"head/1/kernel", -2),  # [C, D]
    (r"bias", None),
)

Params = dict[str, Any]
AnyArray = Array | np.ndarray


def param_shapes(config: JanusConfig) -> dict[str, Any]:
    """Names, shapes and (float32) dtypes of the parameters, as nested dicts of `jax.ShapeDtypeStruct`."""
    width = config.blocks.width
    shapes = {
        "words": (config.vocabulary, width),
        "codes": (config.codebook, config.code_width),
        "aligner": _two_layers(config.code_width, width, width),
        "norm": (width,),
        "head": _two_layers(width, width, config.codebook),
        "layers": {str(i): block_shapes(config.blocks) for i in range(config.blocks.layers)},
    }
    return blocks.as_structs(shapes)


def _two_layers(inputs: int, hidden: int, outputs: int) -> dict[str, Any]:
    return {
        "0": {"kernel": (hidden, inputs), "bias": (hidden,)},
        "1": {"kernel": (outputs, hidden), "bias": (outputs,)},
    }


def published(params: Params) -> dict[str, Any]:
    """Arrays by their published names."""
    flat = traverse_util.flatten_dict(params, sep="/")
    return published_arrays({name: np.asarray(leaf) for name, leaf in flat.items()}, NAMES)


def role_of(name: str) -> Role:
    """All of it draws: texts are read by the tokenizer alone."""
    return "sampler"


def cutting(place: Any = None) -> Any:
    """Parameters lie in the files as a step takes them."""
    return place


def step_weights(params: Params) -> Params:
    """The same: see `llama.blocks`."""
    return params


def logits(
    config: JanusConfig,
    params: Params,
    values: Int[AnyArray, "B T"],
    mask: Shaped[AnyArray, "B T"],
    codes: Int[AnyArray, "B L"],
) -> Float[Array, "B L+1 C"]:
    """Scores every code of images given those before it: row i is for code i."""
    return _head(params, last_states(config, params, values, mask, codes))


@partial(jax.jit, static_argnums=0)
def last_states(
    config: JanusConfig,
    params: Params,
    values: Int[AnyArray, "B T"],
    mask: Shaped[AnyArray, "B T"],
    codes: Int[AnyArray, "B L"],
) -> Float[Array, "B L+1 D"]:
    """What comes out of the last norm at the positions that score codes."""
    text, fed = read_text(config, params, values, mask), jnp.pad(jnp.asarray(codes), ((0, 0), (0, 1)))
    return steps.prefill(_front(config, params), params, text, fed, fed.shape[1], 1)[0]


def _front(config: JanusConfig, weights: Params) -> Front:
    return Front(
        config.blocks,
        partial(code_embeddings, weights),
        lambda length, places: rotary_at(config, length + places),
    )


def code_embeddings(params: Params, codes: Int[AnyArray, "R L"]) -> Float[Array, "R L D"]:
    """Codes as the language model takes them."""
    return _mlp(params["aligner"], params["codes"][codes])


def _mlp(layers: Params, x: Float[Array, "R L D"]) -> Float[Array, "R L E"]:
    x = linear(x, layers["0"]["kernel"]) + layers["0"]["bias"]
    return linear(jax.nn.gelu(x, approximate=False), layers["1"]["kernel"]) + layers["1"]["bias"]


def _head(params: Params, x: Float[Array, "R L D"]) -> Float[Array, "R L C"]:
    return _mlp(params["head"], x).astype(jnp.float32)


def rotary_at(config: JanusConfig, position: Int[Array, "#R L"]) -> Rotary:
    """The angles of positions, counted from the first real token of a row."""
    half = config.blocks.head_width // 2
    angles = position[..., None] * config.theta ** (-jnp.arange(half) / half)
    return Rotary(jnp.cos(angles), jnp.sin(angles), False)


def read_text(
    config: JanusConfig, weights: Params, values: Int[AnyArray, "R T"], mask: Shaped[AnyArray, "R T"]
) -> Text:
    """Runs the prompt through the language model, all but its last token: that is what the first code is drawn from."""
    values, is_real = jnp.asarray(values), jnp.asarray(mask, bool)[:, :-1]
    position = jnp.maximum(jnp.cumsum(is_real, axis=1) - 1, 0)
    words = weights["words"][values]
    _, kept = steps.read(config.blocks, weights, words[:, :-1], rotary_at(config, position), is_real)
    bias = visible(is_real)
    return Text(start=words[:, -1], length=is_real.sum(1), keys_values=kept, bias=bias)


def empty(config: JanusConfig, weights: Params, rows: int, parts: int = 1) -> State:
    """The state of rows that nobody has."""
    positions, places = config.text_length - 1, config.grid.num_codes
    return steps.empty(config.blocks, weights["norm"].dtype, rows, positions, places, parts)


def prefill(config: JanusConfig, weights: Params, text: Text, codes: Int[AnyArray, "R L"], parts: int = 1) -> State:
    """The state after steps 0…L-1, in one pass."""
    return steps.prefill(_front(config, weights), weights, text, codes, config.grid.num_codes, parts)[1]


def step(
    config: JanusConfig,
    weights: Params,
    state: State,
    codes: Int[AnyArray, "R L"],
    position: Int[AnyArray, " R"],
    reach: int,
) -> tuple[Float[Array, "R L C"], State]:
    """Scores the codes at L positions of each row, from `position` on, and keeps what later positions need."""
    x, state = steps.advance(_front(config, weights), weights, state, codes, position, reach)
    return _head(weights, x), state


def step_numbers(config: JanusConfig) -> StepNumbers:
    """What a step reads at least. The tables of embeddings, norms and biases are too little to count."""
    width = config.blocks.width
    others = config.code_width * width + 2 * width**2 + width * config.codebook
    return steps.step_numbers(config.blocks, config.text_length - 1, others)
