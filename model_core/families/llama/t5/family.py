"""T5's encoder: what reads captions for LlamaGen, in a folder and a stage of its own.

It offers what a part that only reads texts needs (`families.protocol.Reader`). Its blocks are those of a Llama with
another gate, scores that are not scaled, and a bias for each distance in place of rotary positions.

After T5 v1.1 (arXiv:2002.05202, arXiv:1910.10683) as transformers computes `T5EncoderModel`.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model_core.families.conditions import Role
from model_core.families.keys_values import attend, visible
from model_core.families.llama import blocks
from model_core.families.llama.blocks import block, block_shapes, rms_norm
from model_core.families.llama.layout import Names
from model_core.families.llama.layout import layout as assembled
from model_core.families.llama.t5.config import T5Config, read_config
from model_core.families.llama.t5.text import open_text
from model_core.weights.sharding import CutAxes
from model_core.weights.weight_files import SAFETENSORS_INDEX, SAFETENSORS_WEIGHTS, Index, Shapes

__all__ = ["CUT_AXES", "WEIGHTS", "T5Config", "open_text", "read_config"]

WEIGHTS: tuple[str, ...] = (SAFETENSORS_WEIGHTS, SAFETENSORS_INDEX)
CUT_AXES: CutAxes = (*blocks.CUT_AXES, (r"words", -1), (r"distances", None))
NAMES = Names(
    layer="encoder.block.{}.",
    queries_keys_values=tuple(f"layer.0.SelfAttention.{part}.weight" for part in "qkv"),
    of_layer={
        "attention_norm": "layer.0.layer_norm.weight",
        "out": "layer.0.SelfAttention.o.weight",
        "mlp_norm": "layer.1.layer_norm.weight",
        "gate": "layer.1.DenseReluDense.wi_0.weight",
        "up": "layer.1.DenseReluDense.wi_1.weight",
        "down": "layer.1.DenseReluDense.wo.weight",
    },
    others={
        "words": "shared.weight",
        "distances": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "norm": "encoder.final_layer_norm.weight",
    },
)
_NOT_NEEDED = ("decoder.", "lm_head.", "encoder.embed_tokens.")  # the last is `shared` again

Params = dict[str, Any]
AnyArray = Array | np.ndarray


def param_shapes(config: T5Config) -> dict[str, Any]:
    """Names, shapes and (float32) dtypes of the parameters, as nested dicts of `jax.ShapeDtypeStruct`."""
    sizes = config.blocks
    shapes = {
        "words": (config.vocabulary, sizes.width),
        "distances": (config.buckets, sizes.heads),
        "norm": (sizes.width,),
        "layers": {str(i): block_shapes(sizes) for i in range(sizes.layers)},
    }
    return blocks.as_structs(shapes)


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Turns the published names into those of `shapes`; a decoder is passed over. Raises as `llama.layout.layout`."""
    kept = {name: stored for name, stored in index.items() if not name.startswith(_NOT_NEEDED)}
    return assembled(path, kept, shapes, NAMES)


def role_of(name: str) -> Role:
    """All of it reads texts."""
    return "text"


@partial(jax.jit, static_argnums=0)
def encode(
    config: T5Config, params: Params, tokens: Int[AnyArray, "B T"], mask: Int[AnyArray, "B T"]
) -> Float[Array, "B T D"]:
    """Turns text tokens into encoder states. Padded positions get states too; nothing looks at them."""
    return hidden_states(config, params, tokens, mask)[-1]


def hidden_states(
    config: T5Config, params: Params, tokens: Int[AnyArray, "B T"], mask: Int[AnyArray, "B T"]
) -> list[Float[Array, "B T D"]]:
    """Embeddings, then what comes out of each block; the last of them after the last norm."""
    sizes = config.blocks
    table = params["distances"].astype(jnp.float32)[buckets(config, tokens.shape[1])]  # [T, T, H]
    bias = table.transpose(2, 0, 1)[None] + visible(jnp.asarray(mask, bool)[:, None, None])  # [B, H, T, T]

    def look(queries, new):
        return attend(queries, (new,), bias, scale=1.0), None

    states = [params["words"][jnp.asarray(tokens)]]
    for i in range(sizes.layers):
        gelu = partial(jax.nn.gelu, approximate=True)
        states.append(block(sizes, params["layers"][str(i)], states[-1], None, look, gelu)[0])
    return [*states[:-1], rms_norm(states[-1], params["norm"], sizes.eps)]


def buckets(config: T5Config, length: int) -> Int[np.ndarray, "T T"]:
    """The bucket of each distance: half of them for each direction, in it half exact and half ever wider."""
    distance = np.arange(length)[None] - np.arange(length)[:, None]  # of what is looked at, from who looks
    half = config.buckets // 2
    exact, size = half // 2, np.maximum(np.abs(distance), 1).astype(np.float32)
    wider = np.log(size / np.float32(exact)) / np.float32(np.log(config.furthest / exact)) * (half - exact)
    near = np.where(np.abs(distance) < exact, np.abs(distance), np.minimum(exact + wider.astype(int), half - 1))
    return np.where(distance > 0, half, 0) + near
