"""DALLE-pytorch's DiscreteVAE: pixels to image codes and image codes to pixels.

The encoder halves a picture `num_layers` times and gives a logit for each code at each place, of which the largest is
taken; the decoder goes the same way back from the codebook's vectors. Source of the network: lucidrains/DALLE-pytorch.
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

from model_core.codecs.discrete_vae_config import DiscreteVAEConfig, read_config
from model_core.codecs.shapes import likeliest, on_grid, require_pixels
from model_core.weights.torch_names import to_flax
from model_core.weights.weight_files import FLAX_WEIGHTS, SAFETENSORS_WEIGHTS, Index, Shapes

__all__ = ["read_config"]  # passed on

Params = dict[str, Any]

WEIGHTS = (FLAX_WEIGHTS, SAFETENSORS_WEIGHTS)  # the former is what training writes


class ResBlock(nn.Module):
    """Three convolutions around a shortcut."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        width = x.shape[-1]
        y = nn.relu(nn.Conv(width, (3, 3), dtype=self.dtype, name="net_0")(x))
        y = nn.relu(nn.Conv(width, (3, 3), dtype=self.dtype, name="net_2")(y))
        return x + nn.Conv(width, (1, 1), dtype=self.dtype, name="net_4")(y)


class Encoder(nn.Module):
    """Pixels in -1…1 to the logits of all codes. Names are the places in the reference's sequence."""

    config: DiscreteVAEConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B height width 3"]) -> Float[Array, "B h w C"]:
        config = self.config
        for i in range(config.num_layers):
            conv = nn.Conv(config.hidden_dim, (4, 4), strides=2, padding=1, dtype=self.dtype, name=str(i))
            x = nn.relu(conv(x))
        for i in range(config.num_resnet_blocks):
            x = ResBlock(self.dtype, name=str(config.num_layers + i))(x)
        last = str(config.num_layers + config.num_resnet_blocks)
        return nn.Conv(config.num_tokens, (1, 1), dtype=jnp.float32, name=last)(x)


class Decoder(nn.Module):
    """Codebook vectors to pixels in -1…1, not clipped."""

    config: DiscreteVAEConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w E"]) -> Float[Array, "B height width 3"]:
        config, place = self.config, 0
        if config.num_resnet_blocks:
            x, place = nn.Conv(config.hidden_dim, (1, 1), dtype=self.dtype, name="0")(x), 1
        for _ in range(config.num_resnet_blocks):
            x, place = ResBlock(self.dtype, name=str(place))(x), place + 1
        for _ in range(config.num_layers):
            grow = nn.ConvTranspose(
                config.hidden_dim,
                (4, 4),
                strides=(2, 2),
                padding="SAME",
                transpose_kernel=True,
                dtype=self.dtype,
                name=str(place),
            )
            x, place = nn.relu(grow(x)), place + 1
        return nn.Conv(3, (1, 1), dtype=self.dtype, name=str(place))(x)


class DiscreteVAE(nn.Module):
    config: DiscreteVAEConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.dtype)
        self.decoder = Decoder(self.config, self.dtype)
        self.codebook = nn.Embed(self.config.num_tokens, self.config.codebook_dim)

    def logits(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B h w C"]:
        """The logits of all codes, of pixels in 0…1."""
        return self.encoder((2 * pixels - 1).astype(self.dtype))

    def pixels(self, vectors: Float[Array, "B h w E"]) -> Float[Array, "B height width 3"]:
        return self.decoder(vectors.astype(self.dtype)) / 2 + 0.5

    def decode(self, codes: Int[Array, "B h w"]) -> Float[Array, "B height width 3"]:
        return self.pixels(self.codebook(codes))

    def __call__(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B height width 3"]:
        return self.decode(jnp.argmax(self.logits(pixels), axis=-1))


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Renames what a converted file holds: `encoder.0.0.weight`, `decoder.1.net.2.bias`, `codebook.weight`."""
    if path.suffix == ".msgpack":  # has our names
        return index
    renamed = {}
    for name, array in index.items():
        short = re.sub(r"\.net\.(\d+)\.", r".net_\1.", name)
        short = re.sub(r"^(encoder|decoder)\.(\d+)\.0\.", r"\1.\2.", short)  # a convolution, and its relu
        ours, stored = to_flax(short, array, lambda owner: owner == "codebook")
        renamed[ours] = stored
    return renamed


def param_shapes(config: DiscreteVAEConfig) -> Params:
    """Names, shapes and dtypes (float32) of all parameters."""
    pixels = jax.ShapeDtypeStruct((1, *config.size, 3), jnp.float32)
    return jax.eval_shape(DiscreteVAE(config).init, jax.random.key(0), pixels)["params"]


@partial(jax.jit, static_argnums=0)
def encode(config: DiscreteVAEConfig, params: Params, pixels: Float[Array, "B height width 3"]) -> Int[Array, "B N"]:
    """Turns pixels in 0…1 into image codes, row by row of the grid; InvalidValue for pictures of another size."""
    require_pixels(pixels, config.size)
    codes = encode_grid(config, params, pixels)
    return codes.reshape(len(codes), -1)


def encode_grid(
    config: DiscreteVAEConfig, params: Params, pixels: Float[Array, "B height width 3"]
) -> Int[Array, "B rows columns"]:
    """Turns pixels in 0…1 into image codes; of any size that is a multiple of a code's pixels."""
    module = DiscreteVAE(config, _compute_dtype(params))
    logits = jnp.asarray(module.apply({"params": params}, pixels, method=DiscreteVAE.logits))
    return likeliest(logits).reshape(logits.shape[:3])


@partial(jax.jit, static_argnums=0)
def decode(
    config: DiscreteVAEConfig, params: Params, codes: Int[Array | np.ndarray, "B N"]
) -> Float[Array, "B height width 3"]:
    """Turns image codes [B, N] into pixels, about 0…1 and not clipped, in float32; InvalidValue for another N."""
    module = DiscreteVAE(config, _compute_dtype(params))
    return jnp.asarray(
        module.apply({"params": params}, on_grid(codes, config.grid), method=DiscreteVAE.decode), jnp.float32
    )


def codebook(config: DiscreteVAEConfig, params: Params) -> Float[Array, "C E"]:
    """The vectors that codes stand for, as `decode_vectors` takes them."""
    return params["codebook"]["embedding"]


def decode_vectors(
    config: DiscreteVAEConfig, params: Params, vectors: Float[Array, "B rows columns E"]
) -> Float[Array, "B height width 3"]:
    """Turns vectors into pixels as `decode` turns codes; of a grid of any size, and differentiable."""
    module = DiscreteVAE(config, _compute_dtype(params))
    return jnp.asarray(module.apply({"params": params}, vectors, method=DiscreteVAE.pixels), jnp.float32)


def _compute_dtype(params: Params) -> Any:
    return params["codebook"]["embedding"].dtype
