"""OpenAI's dVAE of the first DALL·E: pixels to image codes and image codes to pixels.

Two convolutional networks: the encoder gives a logit for each code at each place, of which the largest is taken; the
decoder begins with a vector for each code, and ends with the mean and the spread of a distribution of pixels, of which
the mean is the picture.

Paper: Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation", arXiv:2102.12092. Source of the network: openai/DALL-E.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model_core.codecs.openai_dvae_config import GROUPS, OpenAIDVAEConfig, read_config
from model_core.codecs.shapes import likeliest, on_grid, require_pixels
from model_core.weights.torch_names import to_flax
from model_core.weights.weight_files import FLAX_WEIGHTS, SAFETENSORS_WEIGHTS, Index, Shapes

__all__ = ["read_config"]  # passed on

Params = dict[str, Any]

WEIGHTS = (FLAX_WEIGHTS, SAFETENSORS_WEIGHTS)  # the former is what training writes
_MARGIN = 0.1  # pixels lie in 0.1…0.9, where a logit-Laplace distribution has its values


class Block(nn.Module):
    """Four convolutions, with little weight, around a shortcut."""

    features: int
    sizes: tuple[int, int, int, int]
    gain: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w F"]:
        y = x
        for i, size in enumerate(self.sizes):
            width = self.features if i == 3 else self.features // 4
            y = nn.Conv(width, (size, size), dtype=self.dtype, name=f"conv_{i + 1}")(nn.relu(y))
        if x.shape[-1] != self.features:
            x = nn.Conv(self.features, (1, 1), dtype=self.dtype, name="id_path")(x)
        return x + self.gain * y


class Group(nn.Module):
    """The blocks of one size."""

    features: int
    sizes: tuple[int, int, int, int]
    blocks: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w F"]:
        gain = 1 / (GROUPS * self.blocks) ** 2
        for i in range(self.blocks):
            x = Block(self.features, self.sizes, gain, self.dtype, name=f"block_{i + 1}")(x)
        return x


class Encoder(nn.Module):
    """Pixels to the logits of all codes."""

    config: OpenAIDVAEConfig
    dtype: Any

    @nn.compact
    def __call__(self, mapped: Float[Array, "B height width 3"]) -> Float[Array, "B h w C"]:
        width = self.config.encoder_width
        x = nn.Conv(width, (7, 7), dtype=self.dtype, name="input")(mapped)
        for i in range(GROUPS):
            x = Group(width * 2**i, (3, 3, 3, 1), self.config.encoder_blocks, self.dtype, name=f"group_{i + 1}")(x)
            if i != GROUPS - 1:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return nn.Conv(self.config.vocab_size, (1, 1), dtype=jnp.float32, name="output")(nn.relu(x))


class Decoder(nn.Module):
    """Codes, or weights of all of them, to three channels of pixels before the sigmoid, and three of their spread."""

    config: OpenAIDVAEConfig
    dtype: Any

    @nn.compact
    def __call__(self, codes: Int[Array, "B h w"] | Float[Array, "B h w C"]) -> Float[Array, "B height width 6"]:
        config = self.config
        x = FirstLayer(config.vocab_size, config.first_width, name="input")(codes).astype(self.dtype)
        for i in range(GROUPS):
            width = config.decoder_width * 2 ** (GROUPS - 1 - i)
            x = Group(width, (1, 3, 3, 3), config.decoder_blocks, self.dtype, name=f"group_{i + 1}")(x)
            if i != GROUPS - 1:
                x = x.repeat(2, axis=1).repeat(2, axis=2)
        return nn.Conv(6, (1, 1), dtype=self.dtype, name="output")(nn.relu(x))


class FirstLayer(nn.Module):
    """A convolution of size 1 over one-hot codes, or what is relaxed of them: a row of its kernel for each code."""

    vocab_size: int
    features: int

    @nn.compact
    def __call__(self, codes: Int[Array, "B h w"] | Float[Array, "B h w C"]) -> Float[Array, "B h w D"]:
        kernel = self.param("kernel", nn.initializers.normal(0.02), (1, 1, self.vocab_size, self.features))[0, 0]
        looked_up = kernel[codes] if codes.ndim == 3 else codes @ kernel
        return looked_up + self.param("bias", nn.initializers.zeros, (self.features,))


class OpenAIDVAE(nn.Module):
    config: OpenAIDVAEConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.dtype)
        self.decoder = Decoder(self.config, self.dtype)

    def logits(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B h w C"]:
        """The logits of all codes, of pixels in 0…1."""
        return self.encoder(inside(pixels).astype(self.dtype))

    def statistics(self, codes: Int[Array, "B h w"] | Float[Array, "B h w C"]) -> Float[Array, "B height width 6"]:
        return self.decoder(codes)

    def __call__(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B height width 6"]:
        return self.statistics(jnp.argmax(self.logits(pixels), axis=-1))


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Renames what a converted file holds: `encoder.blocks.group_1.block_1.res_path.conv_1.w` and the like."""
    if path.suffix == ".msgpack":  # has our names
        return index
    renamed = {}
    for name, array in index.items():
        short = re.sub(r"\.(blocks|res_path)\.", ".", name)
        short = re.sub(r"\.blocks\.", ".", short).replace(".output.conv.", ".output.")
        short = re.sub(r"\.w$", ".weight", re.sub(r"\.b$", ".bias", short))
        ours, stored = to_flax(short, array, lambda owner: False)
        renamed[ours] = stored
    return renamed


def param_shapes(config: OpenAIDVAEConfig) -> Params:
    """Names, shapes and dtypes (float32) of all parameters."""
    pixels = jax.ShapeDtypeStruct((1, *config.size, 3), jnp.float32)
    return jax.eval_shape(OpenAIDVAE(config).init, jax.random.key(0), pixels)["params"]


@partial(jax.jit, static_argnums=0)
def encode(config: OpenAIDVAEConfig, params: Params, pixels: Float[Array, "B height width 3"]) -> Int[Array, "B N"]:
    """Turns pixels in 0…1 into image codes, row by row of the grid; InvalidValue for pictures of another size."""
    require_pixels(pixels, config.size)
    module = OpenAIDVAE(config, _compute_dtype(params))
    return likeliest(jnp.asarray(module.apply({"params": params}, pixels, method=OpenAIDVAE.logits)))


@partial(jax.jit, static_argnums=0)
def decode(
    config: OpenAIDVAEConfig, params: Params, codes: Int[Array | np.ndarray, "B N"]
) -> Float[Array, "B height width 3"]:
    """Turns image codes [B, N] into pixels, about 0…1 and not clipped, in float32; InvalidValue for another N."""
    module = OpenAIDVAE(config, _compute_dtype(params))
    statistics = jnp.asarray(
        module.apply({"params": params}, on_grid(codes, config.grid), method=OpenAIDVAE.statistics), jnp.float32
    )
    return mean_pixels(statistics)


def inside(pixels: Any) -> Any:
    """Pixels in 0…1 to 0.1…0.9."""
    return (1 - 2 * _MARGIN) * pixels + _MARGIN


def mean_pixels(statistics: Float[Array, "B height width 6"]) -> Float[Array, "B height width 3"]:
    """The picture that the decoder's six channels tell of, about 0…1."""
    return (nn.sigmoid(statistics[..., :3]) - _MARGIN) / (1 - 2 * _MARGIN)


def _compute_dtype(params: Params) -> Any:
    return params["decoder"]["input"]["kernel"].dtype
