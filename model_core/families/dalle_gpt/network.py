"""The network: embeddings, layers and head over a piece of the stream, and the shapes of its parameters.

What a piece looks at, and what it takes from tokens before it, its driver says (`step`). Kernels lie [out, in], as
PyTorch has them and as a CPU reads them fastest; products run in the dtype of the parameters, all else in float32.

After DALLE-pytorch 1.6.6, rudalle 1.1.3 and minDALL-E (e548007), whose hidden states it reproduces.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model_core.families.dalle_gpt.sizes import DalleGptConfig
from model_core.families.in_training import as_asked, dropped
from model_core.families.linear import product

Params = dict[str, Any]
# (layer, query, key, value), [R, H, L, K] each → what they saw [R, L, H·K], and something to keep
Attend = Callable[[int, Array, Array, Array], tuple[Array, Any]]
Shift = Callable[[int, Array], tuple[Array, Any]]  # (place among the sub-layers, [R, L, D]) → the same, and to keep
Watch = Callable[[Array], None]

_FLOAT16_RANGE = 65504.0


class Kept(NamedTuple):
    """What the drivers of one layer keep: of its attention, and of the shifts in front of both halves."""

    attention: Any
    shifts: tuple[Any, Any]


def param_shapes(config: DalleGptConfig) -> Params:
    """Names, shapes and (float32) dtypes of the parameters, as nested dicts of `jax.ShapeDtypeStruct`."""
    width, inner, codes = config.width, config.heads * config.head_size, config.grid.num_codes
    gated = 2 if config.activation == "geglu" else 1
    norm = {"weight": (width,), "bias": (width,)}

    def dense(size_in: int, size_out: int, has_bias: bool = True) -> Params:
        return {"weight": (size_out, size_in)} | ({"bias": (size_out,)} if has_bias else {})

    def around() -> Params:
        norms = {"norm": norm} | ({"norm_out": norm} if config.has_sandwich_norms else {})
        return norms | ({"scale": (width,)} if config.has_scales else {})

    layers: Params = {}
    for i in range(config.layers):
        layers[str(i)] = {"attention": around(), "feed_forward": around()}
        if config.attention_of[i] == i:
            layers[str(i)]["attention"] |= {
                "query_key_value": dense(width, 3 * inner, config.has_query_bias),
                "out": dense(inner, width),
            }
        if config.feed_forward_of[i] == i:
            layers[str(i)]["feed_forward"] |= {
                "in": dense(width, gated * config.hidden),
                "out": dense(config.hidden, width),
            }
    text: Params = {} if config.is_tied else {"embedding": (config.text_vocab, width)}
    image: Params = {} if config.is_tied else {"embedding": (config.codebook, width)}
    if config.text_positions:
        text["position"] = (config.text_positions, width)
    if config.positions == "each":
        image["position"] = (codes, width)
    elif not config.is_rotary:
        image |= {"row": (config.side, width), "column": (config.side, width)}
    shapes = {"text": text, "image": image, "layers": layers, "head_norm": norm}
    shapes["head"] = dense(width, config.codebook, config.has_head_bias)
    if config.has_final_norm:
        shapes["final_norm"] = norm
    if config.scores_text:
        shapes["text_head"] = dense(width, config.text_vocab, config.has_head_bias)
    shapes = {name: group for name, group in shapes.items() if group}
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), shapes, is_leaf=lambda leaf: isinstance(leaf, tuple)
    )


def text_stream(config: DalleGptConfig, ids: Int[Array, "R T"]) -> Int[Array, "R P"]:
    """The text's part of the stream as ids: pads have ids of their own, and something may stand in front."""
    if config.first_pad is not None:
        ids = jnp.where(ids == 0, config.first_pad + jnp.arange(config.text_length), ids)
    if config.begin_id is not None:
        ids = jnp.pad(ids, ((0, 0), (1, 0)), constant_values=config.begin_id)
    return ids


def embed_text(config: DalleGptConfig, weights: Params, ids: Int[Array, "R T"]) -> Float[Array, "R P D"]:
    """The text's part of the stream."""
    ids = text_stream(config, ids)
    table = weights["text_head"]["weight"] if config.is_tied else weights["text"]["embedding"]
    x = table[ids].astype(jnp.float32)
    if config.text_positions:
        x += weights["text"]["position"][: ids.shape[1]].astype(jnp.float32)
    return x


def embed_codes(
    config: DalleGptConfig, weights: Params, codes: Int[Array, "R L"], places: Int[Array, "R L"]
) -> Float[Array, "R L D"]:
    table = weights["head"]["weight"] if config.is_tied else weights["image"]["embedding"]
    image, row_column = weights.get("image", {}), jnp.divmod(places, config.side)
    found = [table[codes]]
    if "position" in image:
        found.append(image["position"][places])
    if "row" in image:
        found += [image[name][at] for name, at in zip(("row", "column"), row_column, strict=True)]
    return sum(leaf.astype(jnp.float32) for leaf in found)  # pyright: ignore[reportReturnType]


def run_layers(
    config: DalleGptConfig,
    weights: Params,
    x: Float[Array, "R L D"],
    attend: Attend,
    shift: Shift,
    watch: Watch = lambda x: None,
) -> tuple[Float[Array, "R L D"], list[Kept]]:
    """All layers over a piece of the stream; gives what comes out, and what was to be kept of each.

    Args:
      watch: is shown what goes into each attention and each feed-forward, and what comes out at the end.
    """
    layers = [weights["layers"][str(i)] for i in range(config.layers)]
    first, second = x, x  # one stream, unless it is reversible
    kept = []
    for i, layer in enumerate(layers):
        watch(second)
        used = layers[config.attention_of[i]]["attention"], layers[config.feed_forward_of[i]]["feed_forward"]
        drivers = partial(attend, i), partial(shift, 2 * i), partial(shift, 2 * i + 1)
        run = as_asked(layer, partial(_layer, config, *drivers))
        middle, second, of_layer = run(layer, *used, first, second)
        first = middle if config.is_reversible else second
        watch(middle)
        kept.append(of_layer)
    x = (first + second) / 2 if config.is_reversible else first
    watch(x)
    return x, kept


def _layer(config, attend, shift, shift_again, layer, attention, feed_forward, first, second):
    """What is between attention and feed-forward, what comes out, and what is to be kept.

    Norms and scales are the layer's own, the rest may be another's.
    """
    x, of_shift = shift(layer_norm(layer["attention"]["norm"], second))
    x, of_attention = _attention(config, attention, attend, x)
    middle = first + _behind(layer["attention"], dropped(layer, "dropout", 0, x))
    x, of_other = shift_again(layer_norm(layer["feed_forward"]["norm"], middle))
    x = _feed_forward(config, feed_forward, partial(dropped, layer, "activation_dropout", 1), x)
    added = _behind(layer["feed_forward"], dropped(layer, "dropout", 2, x))
    return middle, (second if config.is_reversible else middle) + added, Kept(of_attention, (of_shift, of_other))


def head(
    config: DalleGptConfig, weights: Params, x: Float[Array, "R L D"], name: str = "head"
) -> Float[Array, "R L C"]:
    """Scores codes; with the name "text_head" text tokens."""
    if config.has_final_norm:
        x = layer_norm(weights["final_norm"], x)
    if config.is_divided:
        x /= x.max(-1, keepdims=True)
    return _dense(weights[name], layer_norm(weights["head_norm"], x))


def layer_norm(params: Params, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """In float32, whatever the parameters are in."""
    centred = x - x.mean(-1, keepdims=True)
    scale, bias = (params[name].astype(jnp.float32) for name in ("weight", "bias"))
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * scale + bias


def _behind(params, x):
    """What is behind attention and feed-forward, in front of the sum: a norm, a scale."""
    if "norm_out" in params:
        x = layer_norm(params["norm_out"], x)
    return x * params["scale"].astype(jnp.float32) if "scale" in params else x


def _attention(config, params, attend, x):
    mixed = _dense(params["query_key_value"], x).reshape(*x.shape[:2], 3, config.heads, config.head_size)
    seen, kept = attend(*jnp.moveaxis(mixed, (2, 3), (0, 2)))
    x = _dense(params["out"], seen)
    return (jnp.clip(x, -_FLOAT16_RANGE, _FLOAT16_RANGE) if config.is_clamped else x), kept


def _feed_forward(config, params, drop, x):
    x = _dense(params["in"], x)
    match config.activation:
        case "geglu":
            x, gate = jnp.split(x, 2, axis=-1)
            x *= jax.nn.gelu(gate, approximate=False)
        case "gelu_sigmoid":
            x *= jax.nn.sigmoid(1.702 * x)
        case kind:
            x = jax.nn.gelu(x, approximate=kind == "gelu_tanh")
    return _dense(params["out"], drop(x))


def _dense(params: Params, x: Float[Array, "R L D"]) -> Float[Array, "R L E"]:
    kernel = params["weight"]
    y = product(x.astype(kernel.dtype), kernel.T, jnp.float32).astype(jnp.float32)
    return y + params["bias"].astype(jnp.float32) if "bias" in params else y
