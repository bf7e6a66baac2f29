"""LlamaGen drawing from captions: a projected caption in front of image codes, with rotary positions of two axes.

As a family (`families.protocol`) its conditions are the states of a T5 encoder, on the right of `CAPTION_LENGTH`
positions, which another part reads (`families.llama.t5`). Zeros stand for no caption: its place is taken by one that
was learned.

The positions of a caption are not rotated but made zero, queries and keys: so every code looks at all of them alike.
What is kept of a caption is therefore the mean of its values, and how many there were: their weight together.

After LlamaGen (arXiv:2406.06525) as FoundationVision/LlamaGen computes it.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, Int, Shaped

from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Role, StepNumbers
from model_core.families.keys_values import LOWEST, KeysValues
from model_core.families.llama import blocks
from model_core.families.llama import step as steps
from model_core.families.llama.blocks import Rotary, block_shapes, linear
from model_core.families.llama.layout import Names, published_arrays
from model_core.families.llama.layout import layout as assembled
from model_core.families.llama.llamagen.config import CAPTION_LENGTH, LlamaGenConfig, read_config
from model_core.families.llama.step import Front, State, Text
from model_core.weights.sharding import CutAxes
from model_core.weights.weight_files import SAFETENSORS_INDEX, SAFETENSORS_WEIGHTS, Index, Shapes

__all__ = ["CUT_AXES", "WEIGHTS", "LlamaGenConfig", "read_config"]

WEIGHTS: tuple[str, ...] = (SAFETENSORS_WEIGHTS, SAFETENSORS_INDEX)
CUT_AXES: CutAxes = (
    *blocks.CUT_AXES,
    (r"(caption/.*|no_caption)", None),  # a few millions, read once for each text
    (r"codes", -1),  # [C, D]
    (r"head", -2),  # [C, D]
)
NAMES = Names(
    layer="layers.{}.",
    queries_keys_values=("attention.wqkv.weight",),
    of_layer={
        "attention_norm": "attention_norm.weight",
        "out": "attention.wo.weight",
        "mlp_norm": "ffn_norm.weight",
        "gate": "feed_forward.w1.weight",
        "up": "feed_forward.w3.weight",
        "down": "feed_forward.w2.weight",
    },
    others={
        "no_caption": "cls_embedding.uncond_embedding",
        "caption/0": "cls_embedding.cap_proj.fc1.weight",
        "caption/1": "cls_embedding.cap_proj.fc2.weight",
        "codes": "tok_embeddings.weight",
        "norm": "norm.weight",
        "head": "output.weight",
    },
)

Params = dict[str, Any]
AnyArray = Array | np.ndarray


def param_shapes(config: LlamaGenConfig) -> dict[str, Any]:
    """Names, shapes and (float32) dtypes of the parameters, as nested dicts of `jax.ShapeDtypeStruct`."""
    width = config.blocks.width
    shapes = {
        "no_caption": (CAPTION_LENGTH, config.caption_width),
        "caption": {"0": (width, config.caption_width), "1": (width, width)},
        "codes": (config.codebook, width),
        "norm": (width,),
        "head": (config.codebook, width),
        "layers": {str(i): block_shapes(config.blocks) for i in range(config.blocks.layers)},
    }
    return blocks.as_structs(shapes)


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Turns the published names into those of `shapes`. Raises as `llama.layout.layout`."""
    return assembled(path, index, shapes, NAMES)


def published(params: Params) -> dict[str, Any]:
    """Arrays by their published names."""
    flat = traverse_util.flatten_dict(params, sep="/")
    return published_arrays({name: np.asarray(leaf) for name, leaf in flat.items()}, NAMES)


def role_of(name: str) -> Role:
    """All of it draws: texts are read by T5, which is another part."""
    return "sampler"


def open_text(folder: Path, dtype: str = "float32", *, batch_size: int = 8, place: Any = None) -> Any:
    """Raises UnsupportedConfig: what reads texts is another part."""
    raise UnsupportedConfig(
        f"{folder} draws from the states of a T5 encoder and reads no text itself: name the folder of its flan-t5-xl "
        'as "text" in the parts of model.json.'
    )


def cutting(place: Any = None) -> Any:
    """Parameters lie in the files as a step takes them."""
    return place


def step_weights(params: Params) -> Params:
    """The same: see `llama.blocks`."""
    return params


@partial(jax.jit, static_argnums=0)
def logits(
    config: LlamaGenConfig,
    params: Params,
    values: Float[AnyArray, "B T E"],
    mask: Shaped[AnyArray, "B T"],
    codes: Int[AnyArray, "B L"],
) -> Float[Array, "B L+1 C"]:
    """Scores every code of images given those before it: row i is for code i."""
    text, fed = read_text(config, params, values, mask), jnp.pad(jnp.asarray(codes), ((0, 0), (0, 1)))
    return _head(params, steps.prefill(_front(config, params), params, text, fed, fed.shape[1], 1)[0])


def _front(config: LlamaGenConfig, weights: Params) -> Front:
    return Front(
        config.blocks,
        lambda codes: weights["codes"][codes],
        lambda length, places: rotary_of_places(config, places),
    )


def _head(params: Params, x: Float[Array, "R L D"]) -> Float[Array, "R L C"]:
    return linear(x, params["head"]).astype(jnp.float32)


def rotary_of_places(config: LlamaGenConfig, places: Int[Array, "#R L"]) -> Rotary:
    """Half of the pairs turns with the row, half with the column, of the code that is fed; the start has no angle."""
    quarter = config.blocks.head_width // 4
    code = jnp.maximum(places - 1, 0)
    row, column = jnp.divmod(code, config.side)
    angles = jnp.stack([row, column], axis=-1)[..., None] * config.theta ** (-jnp.arange(quarter) / quarter)
    angles = angles.reshape(*places.shape, 2 * quarter)
    is_code = (places > 0)[..., None]
    return Rotary(jnp.where(is_code, jnp.cos(angles), 0.0), jnp.where(is_code, jnp.sin(angles), 0.0), True)


def caption_embeddings(
    config: LlamaGenConfig, params: Params, values: Float[AnyArray, "R T E"]
) -> Float[Array, "R T D"]:
    """Encoder states, or the learned ones where all are zero, as the first block takes them."""
    values = jnp.asarray(values, params["norm"].dtype)
    is_none = (values == 0).all((1, 2), keepdims=True)
    values = jnp.where(is_none, params["no_caption"], values)
    return linear(jax.nn.gelu(linear(values, params["caption"]["0"]), approximate=True), params["caption"]["1"])


def read_text(
    config: LlamaGenConfig, weights: Params, values: Float[AnyArray, "R T E"], mask: Shaped[AnyArray, "R T"]
) -> Text:
    """Runs the caption, all but its last position: that is what the first code is drawn from."""
    is_real = jnp.asarray(mask, bool)[:, :-1]
    x = caption_embeddings(config, weights, values)
    nowhere = rotary_of_places(config, jnp.zeros((1, x.shape[1] - 1), jnp.int32))
    _, kept = steps.read(config.blocks, weights, x[:, :-1], nowhere, is_real)
    length = is_real.sum(1)
    share = is_real / jnp.maximum(length, 1)[:, None]  # [R, S]
    sums = (jnp.einsum("rs,rhsk->rhk", share, part.values.astype(jnp.float32)) for part in kept)
    means = [mean.astype(x.dtype)[:, :, None] for mean in sums]
    return Text(
        start=x[:, -1],
        length=length,
        keys_values=tuple(KeysValues(keys=jnp.zeros_like(mean), values=mean) for mean in means),
        bias=jnp.where(length > 0, jnp.log(jnp.maximum(length, 1).astype(jnp.float32)), LOWEST)[:, None],
    )


def empty(config: LlamaGenConfig, weights: Params, rows: int, parts: int = 1) -> State:
    """The state of rows that nobody has."""
    return steps.empty(config.blocks, weights["norm"].dtype, rows, 1, config.grid.num_codes, parts)


def prefill(config: LlamaGenConfig, weights: Params, text: Text, codes: Int[AnyArray, "R L"], parts: int = 1) -> State:
    """The state after steps 0…L-1, in one pass."""
    return steps.prefill(_front(config, weights), weights, text, codes, config.grid.num_codes, parts)[1]


def step(
    config: LlamaGenConfig,
    weights: Params,
    state: State,
    codes: Int[AnyArray, "R L"],
    position: Int[AnyArray, " R"],
    reach: int,
) -> tuple[Float[Array, "R L C"], State]:
    """Scores the codes at L positions of each row, from `position` on, and keeps what later positions need."""
    x, state = steps.advance(_front(config, weights), weights, state, codes, position, reach)
    return _head(weights, x), state


def step_numbers(config: LlamaGenConfig) -> StepNumbers:
    """What a step reads at least. Embeddings and norms are too little to count."""
    return steps.step_numbers(config.blocks, 1, config.blocks.width * config.codebook)
