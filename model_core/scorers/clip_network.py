"""CLIP's network: its linen modules, from token ids and pixels to features.

The key tree is that of the public Flax checkpoints (`FlaxCLIPModel` of transformers 4.25), layers unrolled: `name=`
keeps their keys. Paper: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision".
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from model_core.scorers.clip_config import LARGEST_ID, CLIPConfig, TextConfig, TowerConfig, VisionConfig

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
    "gelu": partial(nn.gelu, approximate=False),
}
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
        return nn.Dense(self.config.hidden_size, dtype=self.dtype, name="fc2")(_ACTIVATIONS[self.config.hidden_act](x))


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
