"""VQGAN's network: its linen modules, from pixels to image codes and back.

The architecture and its key tree are those of the published Flax checkpoints (Esser et al., "Taming Transformers",
arXiv:2012.09841; vqgan-jax): convolutional encoder and decoder with single-head attention at the coarse resolutions,
between them the `n_embed` codebook vectors.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model_core.codecs.vqgan_config import VQGANConfig


def _norm(config: VQGANConfig, name: str) -> nn.Module:
    return nn.GroupNorm(num_groups=config.norm_num_groups, epsilon=1e-6, name=name)


def _conv(features: int, size: int, dtype: Any, name: str, **options: Any) -> nn.Module:
    return nn.Conv(features, (size, size), dtype=dtype, name=name, **options)


class ResBlock(nn.Module):
    """Two normalised 3×3 convolutions around a shortcut."""

    config: VQGANConfig
    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w F"]:
        y = _conv(self.features, 3, self.dtype, "conv1")(nn.swish(_norm(self.config, "norm1")(x)))
        y = _conv(self.features, 3, self.dtype, "conv2")(nn.swish(_norm(self.config, "norm2")(y)))
        if x.shape[-1] != self.features:
            x = _conv(self.features, 1, self.dtype, "nin_shortcut")(x)
        return x + y


class AttentionBlock(nn.Module):
    """Single-head self-attention over all positions of the grid."""

    config: VQGANConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        batch, height, width, features = x.shape
        y = _norm(self.config, "norm")(x)
        query, key, value = (
            _conv(features, 1, self.dtype, name)(y).reshape(batch, height * width, features) for name in ("q", "k", "v")
        )
        weights = jnp.einsum("bqd,bkd->bqk", query, key).astype(jnp.float32) * features**-0.5
        weights = nn.softmax(weights, axis=-1).astype(value.dtype)
        y = jnp.einsum("bqk,bkd->bqd", weights, value).reshape(x.shape)
        return x + _conv(features, 1, self.dtype, "proj_out")(y)


class Downsample(nn.Module):
    """Halves height and width."""

    with_conv: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h//2 w//2 D"]:
        if not self.with_conv:
            return nn.avg_pool(x, (2, 2), strides=(2, 2))
        x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))  # one-sided, as the original
        return _conv(x.shape[-1], 3, self.dtype, "conv", strides=(2, 2), padding="VALID")(x)


class Upsample(nn.Module):
    """Doubles height and width (nearest neighbour, then a convolution)."""

    with_conv: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B 2*h 2*w D"]:
        x = x.repeat(2, axis=1).repeat(2, axis=2)
        return _conv(x.shape[-1], 3, self.dtype, "conv")(x) if self.with_conv else x


class Level(nn.Module):
    """The blocks of one resolution, then the change to the next."""

    config: VQGANConfig
    features: int
    num_blocks: int
    attention: bool
    resample: type[nn.Module] | None
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h2 w2 F"]:
        for i in range(self.num_blocks):
            x = ResBlock(self.config, self.features, self.dtype, name=f"block_{i}")(x)
            if self.attention:
                x = AttentionBlock(self.config, self.dtype, name=f"attn_{i}")(x)
        if self.resample is None:
            return x
        name = self.resample.__name__.lower()
        return self.resample(with_conv=self.config.resamp_with_conv, dtype=self.dtype, name=name)(x)


class Middle(nn.Module):
    """The blocks at the coarsest resolution."""

    config: VQGANConfig
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        x = ResBlock(self.config, x.shape[-1], self.dtype, name="block_1")(x)
        x = AttentionBlock(self.config, self.dtype, name="attn_1")(x)
        return ResBlock(self.config, x.shape[-1], self.dtype, name="block_2")(x)


class Encoder(nn.Module):
    """Pixels to the grid of features that the codebook is compared with."""

    config: VQGANConfig
    dtype: Any

    @nn.compact
    def __call__(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B h w z"]:
        config = self.config
        x = _conv(config.ch, 3, self.dtype, "conv_in")(pixels)
        last = len(config.ch_mult) - 1
        for i, multiplier in enumerate(config.ch_mult):
            attention = config.resolution // 2**i in config.attn_resolutions
            resample = Downsample if i != last else None
            width = config.ch * multiplier
            x = Level(config, width, config.num_res_blocks, attention, resample, self.dtype, name=f"down_{i}")(x)
        x = Middle(config, self.dtype, name="mid")(x)
        return _conv(config.z_channels, 3, self.dtype, "conv_out")(nn.swish(_norm(config, "norm_out")(x)))


class Decoder(nn.Module):
    """The grid of codebook vectors to pixels, or to the bands of a wavelet.

    Attributes:
      remat: for a gradient, what is inside of a level is computed again rather than kept.
    """

    config: VQGANConfig
    dtype: Any
    remat: bool = False

    @nn.compact
    def __call__(self, z: Float[Array, "B h w z"]) -> Float[Array, "B height width C"]:
        config = self.config
        middle, level = (nn.remat(Middle), nn.remat(Level)) if self.remat else (Middle, Level)
        x = _conv(config.ch * config.ch_mult[-1], 3, self.dtype, "conv_in")(z)
        x = middle(config, self.dtype, name="mid")(x)
        for i, multiplier in reversed(list(enumerate(config.ch_mult))):
            attention = config.resolution // 2**i in config.attn_resolutions
            resample = Upsample if i != 0 else None
            width = config.ch * multiplier
            x = level(config, width, config.num_res_blocks + 1, attention, resample, self.dtype, name=f"up_{i}")(x)
        width = config.out_ch * (4 if config.wavelet else 1)  # four bands of each colour
        return _conv(width, 3, self.dtype, "conv_out")(nn.swish(_norm(config, "norm_out")(x)))


class Codebook(nn.Module):
    """The `n_embed` vectors that a picture is spelled with."""

    config: VQGANConfig

    def setup(self) -> None:
        self.embedding = nn.Embed(self.config.n_embed, self.config.embed_dim)
        if self.config.lookup == "gumbel":
            self.proj = nn.Conv(self.config.n_embed, (1, 1), dtype=jnp.float32)

    def __call__(self, z: Float[Array, "B h w E"]) -> Int[Array, "B h w"]:
        """The id at each place, in float32; the first one of equals."""
        z = z.astype(jnp.float32)
        if self.config.lookup == "gumbel":
            return jnp.argmax(self.logits(z), axis=-1).astype(jnp.int32)
        vectors = self.embedding.embedding.astype(jnp.float32)  # [C, E]
        if self.config.lookup == "nearest_direction":
            z, vectors = to_unit(z), to_unit(vectors)
        distances = jnp.sum(z**2, axis=-1, keepdims=True) + jnp.sum(vectors**2, axis=-1) - 2 * z @ vectors.T
        return jnp.argmin(distances, axis=-1).astype(jnp.int32)

    def logits(self, z: Float[Array, "B h w E"]) -> Float[Array, "B h w C"]:
        """The logits of all codes, where `lookup` is "gumbel"."""
        return self.proj(z.astype(jnp.float32))

    def lookup(self, codes: Int[Array, "B h w"]) -> Float[Array, "B h w E"]:
        vectors = self.embedding(codes)
        if self.config.lookup == "nearest_direction":
            return to_unit(vectors.astype(jnp.float32)).astype(vectors.dtype)
        return vectors


def to_unit(vectors: Float[Array, "*batch E"]) -> Float[Array, "*batch E"]:
    """Brings vectors to length 1; those shorter than 1e-12, as PyTorch's `normalize`, to less."""
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def from_bands(bands: Float[Array, "B h w 12"]) -> Float[Array, "B 2*h 2*w 3"]:
    """The inverse of one level of the Haar wavelet, as Sber's decoder ends with.

    Channels 0…2 are the low band of red, green and blue; of colour c, 3 + 3c, 4 + 3c and 5 + 3c hold what changes from
    row to row, from column to column, and both.
    """
    batch, height, width, _ = bands.shape
    low, (rows, columns, both) = bands[..., :3], jnp.moveaxis(bands[..., 3:].reshape(*bands.shape[:3], 3, 3), -1, 0)
    corners = [
        [low + rows + columns + both, low + rows - columns - both],
        [low - rows + columns - both, low - rows - columns + both],
    ]
    square = jnp.stack([jnp.stack(row, axis=3) for row in corners], axis=2) / 2  # [B, h, 2, w, 2, 3]
    return square.reshape(batch, 2 * height, 2 * width, 3)


class VQGAN(nn.Module):
    """Encoder, codebook and decoder under the published names."""

    config: VQGANConfig
    dtype: Any = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.dtype)
        self.decoder = Decoder(self.config, self.dtype, self.remat)
        self.quantize = Codebook(self.config)
        self.quant_conv = nn.Conv(self.config.embed_dim, (1, 1), dtype=self.dtype)
        self.post_quant_conv = nn.Conv(self.config.z_channels, (1, 1), dtype=self.dtype)

    def features(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B h w E"]:
        """What the codebook is compared with."""
        return self.quant_conv(self.encoder(pixels))

    def logits(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B h w C"]:
        """The logits of all codes, where `lookup` is "gumbel"."""
        return self.quantize.logits(self.features(pixels))

    def codes(self, pixels: Float[Array, "B height width 3"]) -> Int[Array, "B h w"]:
        return self.quantize(self.features(pixels))

    def vectors(self, codes: Int[Array, "B h w"]) -> Float[Array, "B h w E"]:
        return self.quantize.lookup(codes)

    def pixels(self, vectors: Float[Array, "B h w E"]) -> Float[Array, "B height width 3"]:
        decoded = self.decoder(self.post_quant_conv(vectors))
        return from_bands(decoded) if self.config.wavelet else decoded

    def decode(self, codes: Int[Array, "B h w"]) -> Float[Array, "B height width 3"]:
        return self.pixels(self.vectors(codes).astype(self.dtype))

    def __call__(self, pixels: Float[Array, "B height width 3"]) -> Float[Array, "B out_height out_width 3"]:
        return self.decode(self.codes(pixels))
