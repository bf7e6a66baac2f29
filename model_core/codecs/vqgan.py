"""VQGAN: pixels to image codes and image codes to pixels.

One network for all that are published: dalle-mini's, taming-transformers' (VQModel, and GumbelVQ by its most likely
code, without noise), Sber's with a wavelet behind the decoder, and the VQ-16 of Janus and LlamaGen.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model_core.codecs.shapes import on_grid, require_pixels
from model_core.codecs.vqgan_config import VQGANConfig, read_config
from model_core.codecs.vqgan_layout import layout
from model_core.codecs.vqgan_network import VQGAN
from model_core.weights.weight_files import FLAX_WEIGHTS, SAFETENSORS_INDEX, SAFETENSORS_WEIGHTS

__all__ = ["layout", "read_config"]  # passed on

Params = dict[str, Any]

WEIGHTS = (FLAX_WEIGHTS, SAFETENSORS_WEIGHTS, SAFETENSORS_INDEX)


def _compute_dtype(params: Params) -> Any:
    return params["quantize"]["embedding"]["embedding"].dtype


def param_shapes(config: VQGANConfig) -> Params:
    """Names, shapes and dtypes (float32) of all parameters, as the published checkpoint holds them."""
    pixels = jax.ShapeDtypeStruct((1, config.resolution, config.resolution, 3), jnp.float32)
    return jax.eval_shape(VQGAN(config).init, jax.random.key(0), pixels)["params"]


@partial(jax.jit, static_argnums=0)
def encode(config: VQGANConfig, params: Params, pixels: Float[Array, "B height width 3"]) -> Int[Array, "B N"]:
    """Turns pixels in 0…1 into image codes, row by row of the grid.

    Raises:
      InvalidValue: the pictures are not of `config.size`.
    """
    require_pixels(pixels, config.size)
    codes = encode_grid(config, params, pixels)
    return codes.reshape(codes.shape[0], -1)


@partial(jax.jit, static_argnums=0)
def encode_grid(
    config: VQGANConfig, params: Params, pixels: Float[Array, "B height width 3"]
) -> Int[Array, "B rows columns"]:
    """Turns pixels in 0…1 into image codes; of any size that is a multiple of a code's pixels."""
    dtype = _compute_dtype(params)
    seen = encoder_pixels(config, pixels).astype(dtype)
    return jnp.asarray(VQGAN(config, dtype).apply({"params": params}, seen, method=VQGAN.codes))


@partial(jax.jit, static_argnums=0)
def decode(
    config: VQGANConfig, params: Params, codes: Int[Array | np.ndarray, "B N"]
) -> Float[Array, "B height width 3"]:
    """Turns image codes into pixels, about 0…1 and not clipped, in float32.

    Args:
      codes: values below the codebook's size; N is `config.grid.num_codes`.

    Raises:
      InvalidValue: there are more or fewer codes than a picture has.
    """
    model = VQGAN(config, _compute_dtype(params))
    decoded = model.apply({"params": params}, on_grid(codes, config.grid), method=VQGAN.decode)
    return in_unit_range(config, decoded)


def codebook(config: VQGANConfig, params: Params) -> Float[Array, "C E"]:
    """The vectors that codes stand for, as `decode_vectors` takes them."""
    codes = jnp.arange(config.n_embed)[None, None]
    return jnp.asarray(VQGAN(config).apply({"params": params}, codes, method=VQGAN.vectors))[0, 0]


def decode_vectors(
    config: VQGANConfig, params: Params, vectors: Float[Array, "B rows columns E"]
) -> Float[Array, "B height width 3"]:
    """Turns vectors into pixels as `decode` turns codes; of a grid of any size, and for gradients in little memory."""
    dtype = _compute_dtype(params)
    model = VQGAN(config, dtype, remat=True)
    return in_unit_range(config, model.apply({"params": params}, vectors.astype(dtype), method=VQGAN.pixels))


def encoder_pixels(config: VQGANConfig, pixels: Any) -> Any:
    """Turns pixels in 0…1 into those that the encoder was trained on."""
    if config.wavelet:  # its encoder looks at half the size: each pixel is the mean of four
        batch, height, width, _ = pixels.shape
        pixels = pixels.reshape(batch, height // 2, 2, width // 2, 2, 3).mean(axis=(2, 4))
    return 2 * pixels - 1 if config.signed_pixels else pixels


def in_unit_range(config: VQGANConfig, decoded: Any) -> Float[Array, "B height width 3"]:
    """Turns what the decoder gives into pixels about 0…1, in float32."""
    pixels = jnp.asarray(decoded, jnp.float32)
    return pixels / 2 + 0.5 if config.signed_pixels else pixels
