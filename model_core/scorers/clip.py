"""CLIP: a prompt and a picture become unit vectors, whose dot product says how well they match.

Knows nothing of weights files or ranking. The key tree is that of the public Flax checkpoints (`FlaxCLIPModel` of
transformers 4.25), layers unrolled. Paper: Radford et al. 2021, "Learning Transferable Visual Models From Natural
Language Supervision".
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Float32, Int
from PIL import Image

from model_core.errors import InvalidValue, UnsupportedConfig
from model_core.tokenizer import Tokenizer
from model_core.weights.json_files import read_json

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
    "gelu": partial(nn.gelu, approximate=False),
}
LARGEST_ID = 2  # the published files say eos_token_id 2, which is not their eos: with it the largest id is pooled


# --- configuration ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerConfig:
    """The shape of one transformer, in the words of config.json."""

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self):
        _require(self.hidden_act in ACTIVATIONS, "hidden_act", self.hidden_act, f"one of {sorted(ACTIVATIONS)}")
        is_divisible = self.hidden_size % self.num_attention_heads == 0
        _require(is_divisible, "num_attention_heads", self.num_attention_heads, f"a divisor of {self.hidden_size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig(TowerConfig):
    vocab_size: int
    max_position_embeddings: int
    eos_token_id: int = LARGEST_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig(TowerConfig):
    image_size: int
    patch_size: int
    num_channels: int = 3

    def __post_init__(self):
        TowerConfig.__post_init__(self)  # zero-argument super() is not to be had in a slots dataclass before 3.14
        _require(self.num_channels == 3, "num_channels", self.num_channels, "3")
        is_divisible = self.image_size % self.patch_size == 0
        _require(is_divisible, "patch_size", self.patch_size, f"a divisor of image_size {self.image_size}")


Tower = TypeVar("Tower", TextConfig, VisionConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessorConfig:
    """How a picture becomes the vision tower's input: preprocessor_config.json."""

    shortest_edge: int
    crop_size: int
    rescale_factor: float = 1 / 255
    image_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "PreprocessorConfig":
        """Reads both forms that are published, `"size": 224` and `"size": {"shortest_edge": 224}`."""
        for step in ("do_resize", "do_center_crop", "do_rescale", "do_normalize"):
            _require(raw.get(step, True) is True, step, raw.get(step), "true")
        _require(raw.get("resample", 3) == Image.Resampling.BICUBIC, "resample", raw.get("resample"), "3 (bicubic)")
        size, crop = raw.get("size"), raw.get("crop_size")
        shortest_edge = _side(size, "shortest_edge")
        crop_size = _side(crop, "height")
        is_square = not isinstance(crop, dict) or crop.get("width") == crop_size
        _require(isinstance(crop_size, int) and is_square, "crop_size", crop, "a number, or equal height and width")
        is_large_enough = isinstance(shortest_edge, int) and shortest_edge >= crop_size
        _require(is_large_enough, "size", size, f"a shortest edge of at least crop_size ({crop_size})")
        given = {key: raw[key] for key in ("rescale_factor",) if key in raw}
        given |= {key: tuple(raw[key]) for key in ("image_mean", "image_std") if key in raw}
        return cls(shortest_edge=shortest_edge, crop_size=crop_size, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class CLIPConfig:
    text_config: TextConfig
    vision_config: VisionConfig
    preprocessor: PreprocessorConfig
    projection_dim: int
    logit_scale_init_value: float = math.log(1 / 0.07)

    def __post_init__(self):
        crop, side = self.preprocessor.crop_size, self.vision_config.image_size
        _require(crop == side, "crop_size", crop, f"the vision tower's image_size, {side}")

    @classmethod
    def from_dict(cls, raw: dict[str, Any], preprocessor: dict[str, Any] | None = None) -> "CLIPConfig":
        """Reads config.json, and preprocessor_config.json where there is one.

        Args:
          raw: the content of config.json.
          preprocessor: the content of preprocessor_config.json; None means the published normalisation at `image_size`.

        Raises:
          UnsupportedConfig: a value is not implemented, or a size is missing; names the key.
        """
        _require(raw.get("model_type", "clip") == "clip", "model_type", raw.get("model_type"), "'clip'")
        try:
            text_config = _read_tower(TextConfig, raw["text_config"])
            vision_config = _read_tower(VisionConfig, raw["vision_config"])
            projection_dim = raw["projection_dim"]
        except (KeyError, TypeError) as error:
            raise UnsupportedConfig(f"CLIP config.json lacks a size: {error}.") from error
        side = vision_config.image_size
        return cls(
            text_config=text_config,
            vision_config=vision_config,
            preprocessor=PreprocessorConfig.from_dict(preprocessor or {"size": side, "crop_size": side}),
            projection_dim=projection_dim,
            logit_scale_init_value=raw.get("logit_scale_init_value", math.log(1 / 0.07)),
        )


def open_tokenizer(folder: str | os.PathLike) -> Tokenizer:
    """Reads the tokenizer of a CLIP folder, which lower-cases by itself. Errors as in `Tokenizer` and `from_dict`."""
    text = CLIPConfig.from_dict(read_json(Path(folder), "config.json")).text_config
    return Tokenizer(folder, "CLIPTokenizer", text.max_position_embeddings, text.vocab_size)


def _read_tower(config_type: type[Tower], raw: dict[str, Any]) -> Tower:
    return config_type(**{field.name: raw[field.name] for field in fields(config_type) if field.name in raw})


def _side(size: Any, key: str) -> Any:
    return size.get(key) if isinstance(size, dict) else size


def _require(condition: bool, key: str, got: Any, allowed: str) -> None:
    if not condition:
        raise UnsupportedConfig(f"CLIP config: {key} is {got!r}; supported: {allowed}.")


# --- modules: `name=` keeps the keys of the published checkpoint -----------------------------------------------------

_normal = nn.initializers.normal


class Attention(nn.Module):
    config: TowerConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "#B 1 L L"] | None) -> Float[Array, "B L D"]:
        heads = self.config.num_attention_heads
        width = self.config.hidden_size

        def project(name: str) -> Float[Array, "B L H K"]:
            return nn.Dense(width, dtype=self.dtype, name=name)(x).reshape(*x.shape[:2], heads, width // heads)

        query, key, value = project("q_proj"), project("k_proj"), project("v_proj")
        scores = jnp.einsum("bqhk,bshk->bhqs", query, key, preferred_element_type=jnp.float32)
        scores *= (width // heads) ** -0.5
        if mask is not None:
            scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
        weights = nn.softmax(scores).astype(self.dtype)
        mixed = jnp.einsum("bhqs,bshk->bqhk", weights, value).reshape(x.shape)
        return nn.Dense(width, dtype=self.dtype, name="out_proj")(mixed)


class FeedForward(nn.Module):
    config: TowerConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        x = nn.Dense(self.config.intermediate_size, dtype=self.dtype, name="fc1")(x)
        return nn.Dense(self.config.hidden_size, dtype=self.dtype, name="fc2")(ACTIVATIONS[self.config.hidden_act](x))


class Layer(nn.Module):
    """Pre-norm attention and feed-forward."""

    config: TowerConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "#B 1 L L"] | None) -> Float[Array, "B L D"]:
        x += Attention(self.config, self.dtype, name="self_attn")(self._norm("layer_norm1")(x), mask)
        return x + FeedForward(self.config, self.dtype, name="mlp")(self._norm("layer_norm2")(x))

    def _norm(self, name: str) -> nn.LayerNorm:
        return nn.LayerNorm(epsilon=self.config.layer_norm_eps, dtype=self.dtype, name=name)


class Layers(nn.Module):
    config: TowerConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "#B 1 L L"] | None = None) -> Float[Array, "B L D"]:
        for index in range(self.config.num_hidden_layers):
            x = Layer(self.config, self.dtype, name=str(index))(x, mask)
        return x


class Encoder(nn.Module):
    config: TowerConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "#B 1 L L"] | None = None) -> Float[Array, "B L D"]:
        return Layers(self.config, self.dtype, name="layers")(x, mask)


class TextEmbeddings(nn.Module):
    config: TextConfig
    dtype: Any

    @nn.compact
    def __call__(self, text_tokens: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        embed = partial(nn.Embed, features=self.config.hidden_size, dtype=self.dtype, embedding_init=_normal(0.02))
        tokens = embed(self.config.vocab_size, name="token_embedding")(text_tokens)
        positions = embed(self.config.max_position_embeddings, name="position_embedding")
        return tokens + positions(jnp.arange(text_tokens.shape[1]))


class TextTower(nn.Module):
    config: TextConfig
    dtype: Any

    @nn.compact
    def __call__(self, text_tokens: Int[Array, "B T"], text_mask: Int[Array, "B T"]) -> Float[Array, "B D"]:
        length = text_tokens.shape[1]
        mask = jnp.tri(length, dtype=bool) & (text_mask[:, None, None, :] != 0)  # [B, 1, T, T]
        x = TextEmbeddings(self.config, self.dtype, name="embeddings")(text_tokens)
        x = Encoder(self.config, self.dtype, name="encoder")(x, mask)
        x = nn.LayerNorm(epsilon=self.config.layer_norm_eps, dtype=self.dtype, name="final_layer_norm")(x)
        return x[jnp.arange(len(x)), self._pooled_position(text_tokens)]

    def _pooled_position(self, text_tokens: Int[Array, "B T"]) -> Int[Array, " B"]:
        eos = self.config.eos_token_id
        return jnp.argmax(text_tokens if eos == LARGEST_ID else text_tokens == eos, axis=-1)


class VisionEmbeddings(nn.Module):
    config: VisionConfig
    dtype: Any

    @nn.compact
    def __call__(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B L D"]:
        width, patch = self.config.hidden_size, (self.config.patch_size,) * 2
        patches = nn.Conv(
            width, patch, strides=patch, padding="VALID", use_bias=False, dtype=self.dtype, name="patch_embedding"
        )(pixels)
        patches = patches.reshape(len(pixels), -1, width)  # [B, L - 1, D], row by row
        start = self.param("class_embedding", _normal(0.02), (width,)).astype(self.dtype)
        x = jnp.concatenate([jnp.broadcast_to(start, (len(pixels), 1, width)), patches], axis=1)
        positions = nn.Embed(
            x.shape[1], width, dtype=self.dtype, embedding_init=_normal(0.02), name="position_embedding"
        )
        return x + positions(jnp.arange(x.shape[1]))


class VisionTower(nn.Module):
    config: VisionConfig
    dtype: Any

    @nn.compact
    def __call__(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B D"]:
        norm = partial(nn.LayerNorm, epsilon=self.config.layer_norm_eps, dtype=self.dtype)
        x = VisionEmbeddings(self.config, self.dtype, name="embeddings")(pixels)
        x = norm(name="pre_layrnorm")(x)  # spelled so in every published file
        x = Encoder(self.config, self.dtype, name="encoder")(x)
        return norm(name="post_layernorm")(x[:, 0])


class CLIP(nn.Module):
    config: CLIPConfig
    dtype: Any = jnp.float32

    def setup(self):
        dense = partial(nn.Dense, self.config.projection_dim, use_bias=False, dtype=self.dtype)
        self.text_model = TextTower(self.config.text_config, self.dtype)
        self.vision_model = VisionTower(self.config.vision_config, self.dtype)
        self.text_projection, self.visual_projection = dense(), dense()
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(self.config.logit_scale_init_value), ())

    def text_features(self, text_tokens: Int[Array, "B T"], text_mask: Int[Array, "B T"]) -> Float[Array, "B P"]:
        return self.text_projection(self.text_model(text_tokens, text_mask))

    def image_features(self, preprocessed: Float[Array, "B height width 3"]) -> Float[Array, "B P"]:
        return self.visual_projection(self.vision_model(preprocessed))

    def __call__(self, text_tokens: Int[Array, "B T"], text_mask: Int[Array, "B T"], preprocessed: Float[Array, "..."]):
        return self.text_features(text_tokens, text_mask), self.image_features(preprocessed)


# --- functions: P is projection_dim ----------------------------------------------------------------------------------


@partial(jax.jit, static_argnums=0)
def init_params(config: CLIPConfig, key: Array) -> dict[str, Any]:
    """Draws float32 parameters for training."""
    text_tokens = jnp.zeros((1, config.text_config.max_position_embeddings), jnp.int32)
    side = config.vision_config.image_size
    return dict(CLIP(config).init(key, text_tokens, text_tokens, jnp.zeros((1, side, side, 3)))["params"])


def param_shapes(config: CLIPConfig) -> dict[str, Any]:
    """Gives the tree of a checkpoint, a float32 `jax.ShapeDtypeStruct` for every leaf; computes nothing."""
    return jax.eval_shape(lambda: init_params(config, jax.random.key(0)))


def preprocess(config: CLIPConfig, images: Sequence[np.ndarray]) -> Float32[np.ndarray, "B height width 3"]:
    """Turns uint8 pictures [h, w, 3] of any size into the vision tower's input.

    Resizes the shorter side (bicubic, Pillow), cuts out the centre, rescales and normalises: at most 1/255 from the
    published processor before normalising.

    Raises:
      InvalidValue: an image is not uint8 with three channels, or there is none.
    """
    if not images:
        raise InvalidValue("There is no image to preprocess; give at least one.", "images")
    settings = config.preprocessor
    cropped = np.stack([_resize_and_crop(settings, image) for image in images])
    rescaled = cropped.astype(np.float32) * np.float32(settings.rescale_factor)
    return (rescaled - np.asarray(settings.image_mean, np.float32)) / np.asarray(settings.image_std, np.float32)


def _resize_and_crop(settings: PreprocessorConfig, image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InvalidValue(f"An image must be uint8 [height, width, 3]; got {image.dtype} {image.shape}.", "images")
    shorter, edge = min(image.shape[:2]), settings.shortest_edge
    height, width = (int(edge * side / shorter) for side in image.shape[:2])
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    top, left = (height - settings.crop_size) // 2, (width - settings.crop_size) // 2
    return resized[top : top + settings.crop_size, left : left + settings.crop_size]


@partial(jax.jit, static_argnums=0)
def embed_text(
    config: CLIPConfig, params: dict[str, Any], text_tokens: Int[Array, "B T"], text_mask: Int[Array, "B T"]
) -> Float32[Array, "B P"]:
    """Turns text tokens into unit vectors; differentiable in `params`.

    The vector is read at the first largest id where config.json says `eos_token_id` 2, else at the first eos.

    Args:
      text_mask: 1 = real token, bos and eos included.

    Raises:
      InvalidValue: T is larger than `max_position_embeddings`.
    """
    length, longest = text_tokens.shape[1], config.text_config.max_position_embeddings
    if length > longest:
        raise InvalidValue(f"CLIP reads at most {longest} text tokens; got {length}.", "text_tokens")
    module = CLIP(config, params["text_projection"]["kernel"].dtype)
    return _to_unit(jnp.asarray(module.apply({"params": params}, text_tokens, text_mask, method=CLIP.text_features)))


@partial(jax.jit, static_argnums=0)
def embed_pixels(
    config: CLIPConfig, params: dict[str, Any], preprocessed: Float[Array, "B height width 3"]
) -> Float32[Array, "B P"]:
    """Turns what `preprocess` gives into unit vectors; differentiable in `params`.

    Raises:
      InvalidValue: the pictures do not have the vision tower's `image_size`.
    """
    side = config.vision_config.image_size
    if preprocessed.shape[1:] != (side, side, 3):
        raise InvalidValue(f"CLIP looks at [B, {side}, {side}, 3]; got {preprocessed.shape}.", "preprocessed")
    dtype = params["visual_projection"]["kernel"].dtype
    features = CLIP(config, dtype).apply({"params": params}, preprocessed.astype(dtype), method=CLIP.image_features)
    return _to_unit(jnp.asarray(features))


def logits_per_image(
    config: CLIPConfig,
    params: dict[str, Any],
    image_vectors: Float[Array, "B P"],
    text_vectors: Float[Array, "prompts P"],
) -> Float32[Array, "B prompts"]:
    """Scores every picture against every prompt: exp(logit_scale) · cosine similarity."""
    scale = jnp.exp(params["logit_scale"].astype(jnp.float32))
    return scale * jnp.einsum("ip,tp->it", image_vectors, text_vectors, preferred_element_type=jnp.float32)


def _to_unit(features: Float[Array, "B P"]) -> Float32[Array, "B P"]:
    features = features.astype(jnp.float32)
    return features / jnp.linalg.norm(features, axis=-1, keepdims=True)
