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
    dtype = _compute_dtype(params)
    if config.wavelet:  # its encoder looks at half the size: each pixel is the mean of four
        pixels = pixels.reshape(len(pixels), config.resolution, 2, config.resolution, 2, 3).mean(axis=(2, 4))
    if config.signed_pixels:
        pixels = 2 * pixels - 1
    codes = jnp.asarray(VQGAN(config, dtype).apply({"params": params}, pixels.astype(dtype), method=VQGAN.codes))
    return codes.reshape(codes.shape[0], -1)


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
    pixels = jnp.asarray(model.apply({"params": params}, on_grid(codes, config.grid), method=VQGAN.decode), jnp.float32)
    return pixels / 2 + 0.5 if config.signed_pixels else pixels
