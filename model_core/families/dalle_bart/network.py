"""The DALL·E mini network: its configuration and its linen module, from token ids to logits.

Knows nothing of sampling, caching drivers or files. Layers are stacked on a leading axis and run by a scan.
The key tree is that of the published checkpoints: embeddings of each side, `layers`, `final_ln`, `lm_head`.

After dalle-mini 0.1.5 (github.com/borisdayma/dalle-mini), the settings that the public mini and mega use. Positions
count from 0 (no offset for padding), encoder and decoder have their own embeddings, and the head is not tied.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.families.dalle_bart.layers import DecoderLayer, EncoderLayer, norm, scaled_norm
from model_core.families.linear import dense

# What the published models say and this code computes. A key that is absent means this value too.
_ONLY: dict[str, Any] = {
    "model_type": "dallebart",
    "activation_function": "gelu",
    "force_ln_scale": False,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "is_encoder_decoder": True,
    "ln_positions": "normformer",
    "ln_type": "layernorm",
    "scale_embedding": False,
    "sinkhorn_iters": 1,
    "tie_word_embeddings": False,
    "use_absolute_position_embeddings": True,
    "use_alibi": False,
    "use_bias": False,
    "use_cosine_attention": False,
    "use_deepnet_scaling": False,
    "use_final_ln_decoder": True,
    "use_final_ln_encoder": True,
    "use_glu": True,
    "use_head_scale": False,
    "use_swin_position_embeddings": False,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DalleBartConfig:
    """The sizes of one DalleBart, named as in its config.json.

    Attributes:
      d_model: D, the width of both sides; each side's head count divides it.
      image_vocab_size: codes it can name; logits are one wider, as the published heads are.
      image_length: N, codes of one image.
      max_text_length: T, the longest text.
      decoder_start_token_id: the id before the first code; at most `image_vocab_size`.
      eos_token_id: never drawn. Published models have one outside the vocabulary, which changes nothing.
      init_std: standard deviation of fresh parameters; of use to training only.
    """

    encoder_vocab_size: int
    image_vocab_size: int
    image_length: int
    max_text_length: int
    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    decoder_layers: int
    decoder_attention_heads: int
    decoder_ffn_dim: int
    decoder_start_token_id: int
    eos_token_id: int
    init_std: float = 0.02

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            lowest = 0 if field.name.endswith("_token_id") else 1
            if field.type is int and (not isinstance(value, int) or isinstance(value, bool) or value < lowest):
                raise UnsupportedConfig(f"{field.name} is {value!r}; it must be an integer of at least {lowest}.")
        for side in ("encoder", "decoder"):
            heads = getattr(self, f"{side}_attention_heads")
            if self.d_model % heads:
                raise UnsupportedConfig(
                    f"{side}_attention_heads is {heads}, which does not divide d_model {self.d_model}."
                )
        if self.grid.num_codes != self.image_length:
            raise UnsupportedConfig(f"image_length is {self.image_length}; it must be a square number.")
        if self.decoder_start_token_id > self.image_vocab_size:
            raise UnsupportedConfig(
                f"decoder_start_token_id is {self.decoder_start_token_id}; it can be at most image_vocab_size, "
                f"which is {self.image_vocab_size}."
            )

    @property
    def logits_width(self) -> int:
        """V: one more than the codes; the published start token sits at the end."""
        return self.image_vocab_size + 1

    @property
    def grid(self) -> Grid:
        """A square; the codes are those that the network can name, padded ones among them."""
        side = math.isqrt(self.image_length)
        return Grid(side, side, self.image_vocab_size)

    @property
    def condition_shape(self) -> tuple[int, int]:
        """Of the values of a `Condition`: encoder states [T, D]."""
        return self.max_text_length, self.d_model

    @property
    def encoder_sizes(self) -> tuple[int, int, int, float]:
        """The fields of an `EncoderLayer`."""
        return self.d_model, self.encoder_attention_heads, self.encoder_ffn_dim, self.init_std

    @property
    def decoder_sizes(self) -> tuple[int, int, int, float]:
        """The fields of a `DecoderLayer`."""
        return self.d_model, self.decoder_attention_heads, self.decoder_ffn_dim, self.init_std

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "DalleBartConfig":
        """Reads a parsed config.json; keys that do not change the computation are passed over.

        Raises:
          UnsupportedConfig: a size is missing or makes no sense, or a setting has a value that is not implemented.
        """
        for key, value in _ONLY.items():
            if raw.get(key, value) != value:
                raise UnsupportedConfig(f"{key} is {raw[key]!r}; only {value!r} is implemented.")
        known = {field.name: raw[field.name] for field in dataclasses.fields(cls) if field.name in raw}
        after_codes = raw.get("image_vocab_size")  # the reference's default for special ids
        sizes = {"decoder_start_token_id": after_codes, "eos_token_id": after_codes, **known}
        missing = [
            f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING and sizes.get(f.name) is None
        ]
        if missing:
            raise UnsupportedConfig(f"The configuration lacks {', '.join(missing)}.")
        every_code = sizes["image_length"] + 1  # eos is never drawn only if the shortest sequence is a whole image
        if raw.get("min_length", every_code) != every_code:
            raise UnsupportedConfig(
                f"min_length is {raw['min_length']!r}; only image_length + 1 = {every_code} is implemented."
            )
        return cls(**sizes)


class LayerStack(nn.Module):
    """Equal layers, one after another, their parameters stacked on a leading axis."""

    layer: type[nn.Module]
    sizes: tuple[int, int, int, float]
    num_layers: int
    key: str
    remat: bool

    @nn.compact
    def __call__(self, x, *context):
        layer = nn.remat(self.layer, prevent_cse=False) if self.remat else self.layer
        scanned = nn.scan(
            layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]  (flax's own annotation leaves it out)
            length=self.num_layers,
        )
        x, _ = scanned(*self.sizes, name=self.key)(x, *context)
        return x


class Side(nn.Module):
    """What encoder and decoder share: embeddings in front, a layer stack, a layer norm behind."""

    config: DalleBartConfig
    vocab_size: int
    max_length: int
    make_layers: Callable[[], LayerStack]

    def setup(self):
        init = nn.initializers.normal(self.config.init_std)
        width = self.config.d_model
        self.embed_tokens = nn.Embed(self.vocab_size, width, embedding_init=init)
        self.embed_positions = nn.Embed(self.max_length, width, embedding_init=init)
        self.layernorm_embedding = scaled_norm()
        self.layers = self.make_layers()
        self.final_ln = norm()

    def embed(self, tokens: Int[Array, "B L"], positions: Int[Array, "#B L"]) -> Float[Array, "B L D"]:
        return self.layernorm_embedding(self.embed_tokens(tokens) + self.embed_positions(positions))

    def __call__(self, tokens: Int[Array, "B L"], *context) -> Float[Array, "B L D"]:
        x = self.embed(tokens, jnp.arange(tokens.shape[1])[None])
        return self.final_ln(self.layers(x, *context))


class Bart(nn.Module):
    """The two sides; exists because the published keys have this level."""

    config: DalleBartConfig
    remat: bool

    def setup(self):
        c = self.config
        stack = partial(LayerStack, remat=self.remat)
        encoder = partial(stack, EncoderLayer, c.encoder_sizes, c.encoder_layers, "FlaxBartEncoderLayers")
        decoder = partial(stack, DecoderLayer, c.decoder_sizes, c.decoder_layers, "FlaxBartDecoderLayers")
        self.encoder = Side(c, c.encoder_vocab_size, c.max_text_length, encoder)
        self.decoder = Side(c, c.logits_width, c.image_length, decoder)


class DalleBart(nn.Module):
    """The whole network.

    Attributes:
      remat: recompute activations in the backward pass instead of keeping them; for training.
    """

    config: DalleBartConfig
    remat: bool = False

    def setup(self):
        self.model = Bart(self.config, self.remat)
        init = nn.initializers.normal(self.config.init_std)
        self.lm_head = dense(self.config.logits_width, kernel_init=init)

    def __call__(self, text_tokens, text_mask, decoder_codes):
        return self.logits(decoder_codes, self.encode(text_tokens, text_mask), text_mask)

    def encode(self, text_tokens: Int[Array, "B T"], text_mask: Bool[Array, "B T"]) -> Float[Array, "B T D"]:
        return self.model.encoder(text_tokens, text_mask[:, None, None])

    def logits(
        self, codes: Int[Array, "B L"], states: Float[Array, "B T D"], text_mask: Bool[Array, "B T"]
    ) -> Float[Array, "B L V"]:
        return self.lm_head(self.model.decoder(codes, states, text_mask[:, None, None])).astype(jnp.float32)

    def embed_codes(self, codes: Int[Array, "R L"], positions: Int[Array, "R L"]) -> Float[Array, "R L D"]:
        """The front of the decoder alone, for drivers that run its layers themselves."""
        return self.model.decoder.embed(codes, positions)

    def head(self, x: Float[Array, "R L D"]) -> Float[Array, "R L V"]:
        """The back of the decoder alone: last norm and float32 logits."""
        return self.lm_head(self.model.decoder.final_ln(x)).astype(jnp.float32)
