"""Llama's blocks: norm, attention with rotated queries and keys, norm, gated feed-forward.

Pure functions of arrays. Products lie as PyTorch writes them, [out, in], which is how CPUs read them fastest, and
accelerators as fast as any. What reads the same input is one product: queries, keys and values in groups, one for each
head of keys and values; gates and what they gate in `_groups`. So a cut by groups leaves whole heads on each device.

After LLaMA (arXiv:2302.13971) as transformers computes it: RMS norm (arXiv:1910.07467) in float32, rotary positions
(arXiv:2104.09864), grouped queries (arXiv:2305.13245), SwiGLU (arXiv:2002.05202).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from model_core.families.in_training import as_asked, dropped
from model_core.families.keys_values import KeysValues
from model_core.families.linear import product
from model_core.families.llama.sizes import BlockSizes
from model_core.weights.sharding import CutAxes

_MOST_GROUPS = 8  # of gates: over more devices than this they are not cut

Params = dict[str, Any]

CUT_AXES: CutAxes = (
    (r"qkv", -4),  # by heads of keys and values
    (r"out", -1),  # [D, H·K]
    (r"gate_up", -4),  # by groups
    (r"down", -1),  # [D, F]
    (r"\w*norm", None),
)


class Rotary(NamedTuple):
    """By what angles queries and keys are turned.

    Attributes:
      cos, sin: float32, one for each pair of numbers. Zeros make keys and queries zero.
      is_interleaved: pairs are neighbours, (x[2j], x[2j+1]); else they lie half a head apart.
    """

    cos: Float[Array, "#R L K/2"]
    sin: Float[Array, "#R L K/2"]
    is_interleaved: bool


def block_shapes(sizes: BlockSizes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one block's parameters."""
    width, per_group = sizes.width, sizes.heads // sizes.kv_heads
    groups = math.gcd(sizes.hidden, _MOST_GROUPS)
    return {
        "attention_norm": (width,),
        "qkv": (sizes.kv_heads, per_group + 2, sizes.head_width, width),
        "out": (width, sizes.heads * sizes.head_width),
        "mlp_norm": (width,),
        "gate_up": (groups, 2, sizes.hidden // groups, width),
        "down": (width, sizes.hidden),
    }


def as_structs(shapes: Params) -> Params:
    """Shapes as nested dicts of `jax.ShapeDtypeStruct`, float32."""
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), shapes, is_leaf=lambda node: isinstance(node, tuple)
    )


def num_weights(sizes: BlockSizes) -> int:
    """How many numbers the products of one block read."""
    return sum(math.prod(shape) for shape in block_shapes(sizes).values() if len(shape) > 1)


def linear(x: Float[Array, "R L D"], kernel: Float[Array, "... D"]) -> Float[Array, "R L out"]:
    """A product with a kernel that lies [out, in]; axes in front of the last are outputs all."""
    return product(x, kernel.reshape(-1, kernel.shape[-1]).T)


def rms_norm(x: Float[Array, "R L D"], weight: Float[Array, " D"], eps: float) -> Float[Array, "R L D"]:
    """Divides by the root of the mean square, in float32, then rounds, then scales."""
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return wide.astype(x.dtype) * weight


def rotate(x: Float[Array, "R L H K"], rotary: Rotary | None) -> Float[Array, "R L H K"]:
    """Turns each pair of numbers of each head by its position's angle, in float32."""
    if rotary is None:
        return x
    wide, (cos, sin) = x.astype(jnp.float32), (each[:, :, None] for each in rotary[:2])
    if rotary.is_interleaved:
        first, second = wide[..., ::2], wide[..., 1::2]
        turned = jnp.stack([first * cos - second * sin, second * cos + first * sin], axis=-1).reshape(x.shape)
    else:
        first, second = jnp.split(wide, 2, axis=-1)
        turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def block(
    sizes: BlockSizes,
    params: Params,
    x: Float[Array, "R L D"],
    rotary: Rotary | None,
    look: Callable[[Float[Array, "R KV G*L K"], KeysValues], tuple[Float[Array, "R G*L KV*K"], Any]],
    activation: Callable[[Array], Array] = jax.nn.silu,
) -> tuple[Float[Array, "R L D"], Any]:
    """Runs one block, as training asks for it where it does.

    Args:
      rotary: None rotates nothing.
      look: lets the queries of the L positions, those of the G heads of a group one after another, look at their keys
        and values and at whatever else; gives what they saw, and something to keep.
      activation: of the gates.

    Returns:
      What comes out, and what `look` wants to keep.
    """
    run = as_asked(params, partial(_block, sizes, rotary=rotary, look=look, activation=activation))
    return run(params, x)


def _block(sizes, params, x, *, rotary, look, activation):
    rows, length = x.shape[:2]
    per_group = sizes.heads // sizes.kv_heads
    made = linear(rms_norm(x, params["attention_norm"], sizes.eps), params["qkv"])
    made = made.reshape(rows, length, sizes.kv_heads, per_group + 2, sizes.head_width)
    queries = rotate(made[..., :per_group, :].reshape(rows, length, sizes.heads, -1), rotary)
    queries = queries.reshape(rows, length, sizes.kv_heads, per_group, -1).transpose(0, 2, 3, 1, 4)
    queries = queries.reshape(rows, sizes.kv_heads, per_group * length, -1)
    keys, values = rotate(made[..., per_group, :], rotary).swapaxes(1, 2), made[..., per_group + 1, :].swapaxes(1, 2)
    seen, kept = look(queries, KeysValues(keys=keys, values=values))
    seen = seen.reshape(rows, per_group, length, sizes.kv_heads, -1).transpose(0, 2, 3, 1, 4)
    x = x + dropped(params, "dropout", 0, linear(seen.reshape(rows, length, -1), params["out"]))
    gates = linear(rms_norm(x, params["mlp_norm"], sizes.eps), params["gate_up"])
    gates = gates.reshape(rows, length, *params["gate_up"].shape[:3])
    gated = (activation(gates[..., 0, :]) * gates[..., 1, :]).reshape(rows, length, -1)
    gated = dropped(params, "activation_dropout", 1, gated)
    return x + dropped(params, "dropout", 2, linear(gated, params["down"])), kept
