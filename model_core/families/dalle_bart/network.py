"""The DALL·E mini network: its linen module, from token ids to logits.

Layers are stacked on a leading axis and run by a scan. The key tree is that of the published checkpoints: embeddings of
each side, `layers`, `final_ln`, `lm_head`.

After dalle-mini 0.1.5 (github.com/borisdayma/dalle-mini), the settings that the public mini and mega use. Positions
count from 0 (no offset for padding), encoder and decoder have their own embeddings, and the head is not tied.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from model_core.families.dalle_bart.config import DalleBartConfig
from model_core.families.dalle_bart.layers import DecoderLayer, EncoderLayer, norm, scaled_norm
from model_core.families.linear import dense


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
            split_rngs={"params": True, "dropout": True},
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

    def __call__(
        self, tokens: Int[Array, "B L"], *context, positions: Int[Array, "#B L"] | None = None
    ) -> Float[Array, "B L D"]:
        x = self.embed(tokens, jnp.arange(tokens.shape[1])[None] if positions is None else positions)
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
        self,
        codes: Int[Array, "B L"],
        states: Float[Array, "B T D"],
        text_mask: Bool[Array, "B T"],
        positions: Int[Array, "B L"] | None = None,
    ) -> Float[Array, "B L V"]:
        x = self.model.decoder(codes, states, text_mask[:, None, None], positions=positions)
        return self.lm_head(x).astype(jnp.float32)

    def embed_codes(self, codes: Int[Array, "R L"], positions: Int[Array, "R L"]) -> Float[Array, "R L D"]:
        """The front of the decoder alone, for drivers that run its layers themselves."""
        return self.model.decoder.embed(codes, positions)

    def head(self, x: Float[Array, "R L D"]) -> Float[Array, "R L V"]:
        """The back of the decoder alone: last norm and float32 logits."""
        return self.lm_head(self.model.decoder.final_ln(x)).astype(jnp.float32)
