"""DALLE-pytorch's own CLIP: a prompt and a picture become unit vectors, whose dot product says how well they match.

Two transformers that look in both directions, with learned positions; a vector is the mean over all of them, the pads
of a text included. Source of the network: lucidrains/DALLE-pytorch (`CLIP`, `Transformer`), after Radford et al. 2021.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Float32, Int

from model_core.errors import CorruptCheckpoint, InvalidValue
from model_core.pictures.images import square, to_pixels
from model_core.scorers.dalle_pytorch_clip_config import HEAD_WIDTH, DallePytorchCLIPConfig, read_config
from model_core.subwords import clean, read_clip_merges, read_tokenizers_json
from model_core.tokenizer import TextTokens
from model_core.weights.torch_names import to_flax
from model_core.weights.weight_files import SAFETENSORS_WEIGHTS, Index, Shapes
from model_core.youtokentome import read_youtokentome

__all__ = ["read_config"]  # passed on

Params = dict[str, Any]

WEIGHTS = (SAFETENSORS_WEIGHTS,)


class Attention(nn.Module):
    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        batch, length, width = x.shape
        joined = nn.Dense(3 * self.heads * HEAD_WIDTH, use_bias=False, dtype=self.dtype, name="to_qkv")(x)
        query, key, value = jnp.moveaxis(joined.reshape(batch, length, 3, self.heads, HEAD_WIDTH), 2, 0)
        scores = jnp.einsum("bqhk,bshk->bhqs", query, key, preferred_element_type=jnp.float32) * HEAD_WIDTH**-0.5
        scores = jnp.where(mask[:, None, None, :] != 0, scores, jnp.finfo(jnp.float32).min)
        weights = nn.softmax(scores).astype(self.dtype)
        mixed = jnp.einsum("bhqs,bshk->bqhk", weights, value).reshape(batch, length, -1)
        return nn.Dense(width, dtype=self.dtype, name="to_out")(mixed)


class FeedForward(nn.Module):
    """With gates: half of what is made of x lets the other half through."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        width = x.shape[-1]
        value, gate = jnp.split(nn.Dense(8 * width, dtype=self.dtype, name="in")(x), 2, axis=-1)
        return nn.Dense(width, dtype=self.dtype, name="out")(value * nn.gelu(gate, approximate=False))


class Half(nn.Module):
    """A half of a layer: what it adds, normalised before and scaled after."""

    inner: nn.Module
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], *mask: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        scale = self.param("scale", nn.initializers.constant(0.1), (1, 1, x.shape[-1])).astype(self.dtype)
        return x + scale * self.inner(nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="norm")(x), *mask)


class Transformer(nn.Module):
    depth: int
    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        for i in range(self.depth):
            attention = Attention(self.heads, self.dtype, name=f"attention_{i}")
            x = Half(attention, self.dtype, name=f"attend_{i}")(x, mask)
            x = Half(FeedForward(self.dtype, name=f"feed_forward_{i}"), self.dtype, name=f"think_{i}")(x)
        return x


class DallePytorchCLIP(nn.Module):
    config: DallePytorchCLIPConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        config, dtype = self.config, self.dtype
        patches = (config.visual_image_size // config.visual_patch_size) ** 2
        self.text_emb = nn.Embed(config.num_text_tokens, config.dim_text, dtype=dtype)
        self.text_pos_emb = nn.Embed(config.text_seq_len, config.dim_text, dtype=dtype)
        self.text_transformer = Transformer(config.text_enc_depth, config.text_heads, dtype)
        self.to_text_latent = nn.Dense(config.dim_latent, use_bias=False, dtype=dtype)
        self.to_visual_embedding = nn.Dense(config.dim_image, dtype=dtype)
        self.visual_pos_emb = nn.Embed(patches, config.dim_image, dtype=dtype)
        self.visual_transformer = Transformer(config.visual_enc_depth, config.visual_heads, dtype)
        self.to_visual_latent = nn.Dense(config.dim_latent, use_bias=False, dtype=dtype)
        self.temperature = self.param("temperature", nn.initializers.ones, ())

    def text(self, text_tokens: Int[Array, "B T"], text_mask: Int[Array, "B T"]) -> Float[Array, "B P"]:
        x = self.text_emb(text_tokens) + self.text_pos_emb(jnp.arange(text_tokens.shape[1]))
        x = self.text_transformer(x, text_mask)
        weights = text_mask[..., None].astype(self.dtype)
        return self.to_text_latent((x * weights).sum(axis=1) / weights.sum(axis=1))

    def image(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B P"]:
        batch, patch = len(pixels), self.config.visual_patch_size
        count = self.config.visual_image_size // patch
        cut = pixels.reshape(batch, count, patch, count, patch, 3).transpose(0, 1, 3, 2, 4, 5)
        x = self.to_visual_embedding(cut.reshape(batch, count**2, -1)) + self.visual_pos_emb(jnp.arange(count**2))
        x = self.visual_transformer(x, jnp.ones(x.shape[:2], jnp.int32))
        return self.to_visual_latent(x.mean(axis=1))

    def __call__(self, text_tokens: Any, text_mask: Any, pixels: Any) -> Any:
        return self.text(text_tokens, text_mask), self.image(pixels), self.temperature


# The reference wraps a layer as often as its version has it: `layers.layers.0.1.fn.fn.net.3.weight`.
_NAMES = (
    (r"^(\w+_transformer)\.layers\.layers\.(\d+)\.0\.(?:fn\.)*to_qkv\.", r"\1.attention_\2.to_qkv."),
    (r"^(\w+_transformer)\.layers\.layers\.(\d+)\.0\.(?:fn\.)*to_out\.0\.", r"\1.attention_\2.to_out."),
    (r"^(\w+_transformer)\.layers\.layers\.(\d+)\.1\.(?:fn\.)*net\.0\.", r"\1.feed_forward_\2.in."),
    (r"^(\w+_transformer)\.layers\.layers\.(\d+)\.1\.(?:fn\.)*net\.3\.", r"\1.feed_forward_\2.out."),
    (r"^(\w+_transformer)\.layers\.layers\.(\d+)\.0\.(?:fn\.)?(scale|norm)", r"\1.attend_\2.\3"),
    (r"^(\w+_transformer)\.layers\.layers\.(\d+)\.1\.(?:fn\.)?(scale|norm)", r"\1.think_\2.\3"),
)


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Renames what a converted file holds; what it does not know passes through, for the comparison to report."""
    renamed = {}
    for name, array in index.items():
        for pattern, ours in _NAMES:
            name = re.sub(pattern, ours, name)
        ours, stored = to_flax(name, array, lambda owner: owner.endswith("_emb"))
        renamed[ours] = stored
    return renamed


def param_shapes(config: DallePytorchCLIPConfig) -> Params:
    """Names, shapes and dtypes (float32) of all parameters."""
    tokens = jax.ShapeDtypeStruct((1, config.text_seq_len), jnp.int32)
    pixels = jax.ShapeDtypeStruct((1, *config.size, 3), jnp.float32)
    return jax.eval_shape(DallePytorchCLIP(config).init, jax.random.key(0), tokens, tokens, pixels)["params"]


def open_text(folder: Path) -> Callable[[Sequence[str]], tuple[TextTokens, TextTokens]]:
    """Reads the folder's tokenizer: prompts → (text_tokens, text_mask), padded with 0 and cut at `text_seq_len`.

    The mask is 1 everywhere: the reference ranks pictures without one, so its CLIP looks at pads too.

    Raises:
      CorruptCheckpoint: the file is missing or not in its format, or its ids do not fit the model.
      UnsupportedConfig: as `read_config`.
    """
    config = read_config(folder)
    path = folder / config.tokenizer_file
    if config.tokenizer == "yttm":
        pieces = read_youtokentome(path)
        size, encode = pieces.size, pieces.__call__
    else:
        subwords = read_clip_merges(path) if config.tokenizer == "simple" else read_tokenizers_json(path)
        size, encode = subwords.size, subwords.encode
    if size > config.num_text_tokens:
        raise CorruptCheckpoint(
            f"{path} has ids up to {size - 1}, config.json says {config.num_text_tokens} tokens. The two belong to "
            "different models."
        )

    def tokenize(prompts: Sequence[str]) -> tuple[TextTokens, TextTokens]:
        text_tokens = np.zeros((len(prompts), config.text_seq_len), np.int32)
        for row, prompt in zip(text_tokens, prompts, strict=True):
            valid = prompt.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            ids = encode(clean(valid) if config.tokenizer == "simple" else valid)[: config.text_seq_len]
            row[: len(ids)] = ids
        return text_tokens, np.ones_like(text_tokens)

    return tokenize


def preprocess(config: DallePytorchCLIPConfig, images: Sequence[np.ndarray]) -> Float32[np.ndarray, "B height width 3"]:
    """Turns uint8 pictures [h, w, 3] of any size into pixels in 0…1 of its size: the largest square, scaled (Lanczos).

    Raises:
      InvalidValue: an image is not uint8 with three channels, or there is none.
    """
    if not images:
        raise InvalidValue("There is no image to preprocess; give at least one.", "images")
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise InvalidValue(f"An image must be uint8 [height, width, 3]; got {image.dtype} {image.shape}.", "images")
    side = config.visual_image_size
    return to_pixels(np.stack([image if image.shape[:2] == (side, side) else square(image, side) for image in images]))


def normalize(config: DallePytorchCLIPConfig, pixels: Any) -> Any:
    """Gives the pixels back: its pictures are pixels in 0…1."""
    return pixels


@partial(jax.jit, static_argnums=0)
def embed_text(
    config: DallePytorchCLIPConfig, params: Params, text_tokens: Int[Array, "B T"], text_mask: Int[Array, "B T"]
) -> Float32[Array, "B P"]:
    """Turns text tokens into unit vectors: the mean over the positions whose mask is 1, which alone are looked at.

    Raises:
      InvalidValue: T is not `text_seq_len`.
    """
    if text_tokens.shape[1] != config.text_seq_len:
        raise InvalidValue(
            f"This CLIP reads {config.text_seq_len} text tokens; got {text_tokens.shape[1]}.", "text_tokens"
        )
    module = DallePytorchCLIP(config, _compute_dtype(params))
    return _to_unit(module.apply({"params": params}, text_tokens, text_mask, method=DallePytorchCLIP.text))


@partial(jax.jit, static_argnums=0)
def embed_pixels(
    config: DallePytorchCLIPConfig, params: Params, preprocessed: Float[Array, "B height width 3"]
) -> Float32[Array, "B P"]:
    """Turns what `preprocess` gives into unit vectors; InvalidValue for pictures of another size."""
    if preprocessed.shape[1:] != (*config.size, 3):
        raise InvalidValue(f"This CLIP looks at [B, {config.size[0]}, {config.size[1]}, 3]; got {preprocessed.shape}.")
    dtype = _compute_dtype(params)
    module = DallePytorchCLIP(config, dtype)
    return _to_unit(module.apply({"params": params}, preprocessed.astype(dtype), method=DallePytorchCLIP.image))


def pixel_layers(
    config: DallePytorchCLIPConfig, params: Params, preprocessed: Float[Array, "B height width 3"]
) -> list[Float[Array, "B L D"]]:
    """What each layer of the visual transformer makes of what `preprocess` gives, patch by patch."""
    _, kept = DallePytorchCLIP(config).apply(
        {"params": params},
        preprocessed,
        method=DallePytorchCLIP.image,
        capture_intermediates=lambda module, _: isinstance(module, Half),
        mutable=["intermediates"],
    )
    layers: Any = kept["intermediates"]["visual_transformer"]
    return [layers[f"think_{i}"]["__call__"][0] for i in range(config.visual_enc_depth)]


def logits_per_image(
    config: DallePytorchCLIPConfig,
    params: Params,
    image_vectors: Float[Array, "B P"],
    text_vectors: Float[Array, "prompts P"],
) -> Float32[Array, "B prompts"]:
    """Scores every picture against every prompt: exp(temperature) · cosine similarity."""
    scale = jnp.exp(params["temperature"].astype(jnp.float32))
    return scale * jnp.einsum("ip,tp->it", image_vectors, text_vectors, preferred_element_type=jnp.float32)


def _compute_dtype(params: Params) -> Any:
    return params["to_text_latent"]["kernel"].dtype


def _to_unit(features: Any) -> Float32[Array, "B P"]:
    features = jnp.asarray(features, jnp.float32)
    return features / jnp.maximum(jnp.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
