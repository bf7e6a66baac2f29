"""CLIP: a prompt and a picture become unit vectors, whose dot product says how well they match.

Paper: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision". In the shapes P is
projection_dim.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int
from PIL import Image

from model_core.errors import InvalidValue
from model_core.scorers.clip_config import CLIPConfig, PreprocessorConfig, TextConfig, VisionConfig, read_config
from model_core.scorers.clip_layout import layout
from model_core.scorers.clip_network import CLIP, Layer
from model_core.tokenizer import Tokenizer
from model_core.weights.weight_files import FLAX_WEIGHTS, SAFETENSORS_WEIGHTS

__all__ = ["TextConfig", "VisionConfig", "layout", "read_config"]  # passed on

WEIGHTS = (FLAX_WEIGHTS, SAFETENSORS_WEIGHTS)


def open_text(folder: Path) -> Tokenizer:
    """Reads the folder's tokenizer, which lower-cases by itself. Errors as in `Tokenizer` and `read_config`."""
    text = read_config(folder).text_config
    return Tokenizer(folder, "CLIPTokenizer", text.max_position_embeddings, text.vocab_size)


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
    return normalize(config, cropped.astype(np.float32) * np.float32(settings.rescale_factor))


def normalize(config: CLIPConfig, pixels: Any) -> Any:
    """Turns pixels in 0…1, of the vision tower's size, into its input; numpy or JAX, and differentiable."""
    settings = config.preprocessor
    return (pixels - np.asarray(settings.image_mean, np.float32)) / np.asarray(settings.image_std, np.float32)


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


def pixel_layers(
    config: CLIPConfig, params: dict[str, Any], preprocessed: Float[Array, "B height width 3"]
) -> list[Float[Array, "B L D"]]:
    """What each layer of the vision tower makes of what `preprocess` gives: the class token, then patches."""
    _, kept = CLIP(config).apply(
        {"params": params},
        preprocessed,
        method=CLIP.image_features,
        capture_intermediates=lambda module, _: isinstance(module, Layer),
        mutable=["intermediates"],
    )
    layers: Any = kept["intermediates"]["vision_model"]["encoder"]["layers"]
    return [layers[str(i)]["__call__"][0] for i in range(config.vision_config.num_hidden_layers)]


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
