"""The transformer blocks of DALL·E mini: attention, gated feed-forward, encoder layer, decoder layer.

Blocks compute in the dtype of their parameters; softmax and layer norm run in float32. Attribute names read well,
`name=` keeps the keys of the published checkpoints.

After NormFormer (arXiv:2110.09456) for the places of the layer norms and GLU variants (arXiv:2002.05202) for the
feed-forward, as dalle-mini (github.com/borisdayma/dalle-mini) combines them: no biases in products, and no scale in a
layer norm that feeds a product.
"""

import math
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from model_core.families.keys_values import Cache, KeysValues
from model_core.families.linear import dense

LOWEST = float(jnp.finfo(jnp.float32).min)  # rather than -inf: who may look at nothing stays finite

scaled_norm = partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)
norm = partial(scaled_norm, use_scale=False)  # in front of a product, whose kernel already scales


class Attention(nn.Module):
    """Multi-head attention whose keys and values are made apart, so that they can be kept.

    Attributes:
      width: D, of inputs and outputs.
      num_heads: H, divides `width`.
      init_std: standard deviation of fresh kernels.
      is_fused: queries, keys and values are one product, for attention to itself.
    """

    width: int
    num_heads: int
    init_std: float
    is_fused: bool = False

    def setup(self):
        make = partial(dense, kernel_init=nn.initializers.normal(self.init_std))
        if self.is_fused:
            self.query_key_value = make(3 * self.width, name="qkv_proj")
        else:
            self.query = make(self.width, name="q_proj")
            self.key = make(self.width, name="k_proj")
            self.value = make(self.width, name="v_proj")
        self.out = make(self.width, name="out_proj")

    def queries_keys_values(self, x: Float[Array, "R L D"]) -> tuple[Float[Array, "R H L K"], KeysValues]:
        """Of the same input, for attention to itself."""
        if not self.is_fused:
            return self.queries(x), self.keys_values(x)
        query, key, value = map(self._split_heads, jnp.split(self.query_key_value(x), 3, axis=-1))
        return query, KeysValues(keys=key, values=value)

    def queries(self, x: Float[Array, "R L D"]) -> Float[Array, "R H L K"]:
        return self._split_heads(self.query(x))

    def keys_values(self, x: Float[Array, "R S D"]) -> KeysValues:
        return KeysValues(keys=self._split_heads(self.key(x)), values=self._split_heads(self.value(x)))

    def __call__(
        self, query: Float[Array, "R H L K"], source: Cache, mask: Bool[Array, "#R 1 #L S"]
    ) -> Float[Array, "R L D"]:
        """Lets each of L queries look at those of S positions where the mask is true; S counts over all of `source`."""
        scores = [
            jnp.einsum("rhlk,rhsk->rhls", query, part.keys, preferred_element_type=jnp.float32) for part in source
        ]
        scores = jnp.concatenate(scores, axis=-1) / math.sqrt(query.shape[-1])
        weights = jax.nn.softmax(jnp.where(mask, scores, LOWEST)).astype(source[0].values.dtype)
        ends = np.cumsum([part.keys.shape[2] for part in source])[:-1]
        of_parts = jnp.split(weights, ends, axis=-1)
        mixed = [
            jnp.einsum("rhls,rhsk->rlhk", of_part, part.values) for of_part, part in zip(of_parts, source, strict=True)
        ]
        mixed = reduce(jnp.add, mixed)
        return self.out(mixed.reshape(*mixed.shape[:2], self.width))

    def _split_heads(self, x):
        return x.reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2)  # [R, H, S, K]


class GLU(nn.Module):
    """Feed-forward with a gate: norm, gelu(a)·b, norm, product.

    Attributes:
      width: D, of inputs and outputs.
      hidden: F, of the gated part.
      init_std: standard deviation of fresh kernels.
      is_fused: both gates are one product.
    """

    width: int
    hidden: int
    init_std: float
    is_fused: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "R L D"]) -> Float[Array, "R L D"]:
        linear = partial(dense, kernel_init=nn.initializers.normal(self.init_std))
        x = norm(name="LayerNorm_0")(x)
        if self.is_fused:
            gate, x = jnp.split(linear(2 * self.hidden, name="Dense_01")(x), 2, axis=-1)
        else:
            gate, x = linear(self.hidden, name="Dense_0")(x), linear(self.hidden, name="Dense_1")(x)
        x = nn.gelu(gate, approximate=False) * x
        x = norm(name="LayerNorm_1")(x)
        return linear(self.width, name="Dense_2")(x)


class EncoderLayer(nn.Module):
    """Self-attention in both directions, then the feed-forward. Returns (x, None), as a scan wants it."""

    width: int
    num_heads: int
    hidden: int
    init_std: float

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], mask: Bool[Array, "B 1 1 T"]) -> tuple[Float[Array, "B T D"], None]:
        attention = Attention(self.width, self.num_heads, self.init_std, name="FlaxBartAttention_0")
        query, seen = attention.queries_keys_values(norm(name="LayerNorm_0")(x))
        h = attention(query, (seen,), mask)
        x = x + scaled_norm(name="LayerNorm_1")(h)
        return x + GLU(self.width, self.hidden, self.init_std, name="GLU_0")(x), None


class DecoderLayer(nn.Module):
    """Causal self-attention, attention over the text, feed-forward.

    `__call__` and `read` see all positions at once; `step` sees a few per row and keeps the earlier ones in a cache.

    Attributes:
      is_fused: the parameters are those that `linear.fused` makes of the published ones, for `step` and `read`.
    """

    width: int
    num_heads: int
    hidden: int
    init_std: float
    is_fused: bool = False

    def setup(self):
        attention = partial(Attention, self.width, self.num_heads, self.init_std)
        self.self_norm = norm(name="LayerNorm_0")
        self.self_attention = attention(self.is_fused, name="FlaxBartAttention_0")
        self.self_out_norm = scaled_norm(name="LayerNorm_1")
        self.cross_norm = norm(name="LayerNorm_2")
        self.cross_attention = attention(name="FlaxBartAttention_1")
        self.cross_out_norm = scaled_norm(name="LayerNorm_3")
        self.feed_forward = GLU(self.width, self.hidden, self.init_std, self.is_fused, name="GLU_0")

    def __call__(
        self, x: Float[Array, "B L D"], states: Float[Array, "B T D"], text_mask: Bool[Array, "B 1 1 T"]
    ) -> tuple[Float[Array, "B L D"], None]:
        """Runs all positions, each looking at itself and those before. Returns (x, None), as a scan wants it."""
        return self.read(x, self.text_keys_values(states), text_mask)[0], None

    def read(
        self, x: Float[Array, "B L D"], text: KeysValues, text_mask: Bool[Array, "B 1 1 T"]
    ) -> tuple[Float[Array, "B L D"], KeysValues]:
        """Runs all positions, and returns them with what a cache holds after `step` has seen each of them."""
        causal = jnp.tri(x.shape[1], dtype=bool)[None, None]  # [1, 1, L, L]
        query, seen = self.self_attention.queries_keys_values(self.self_norm(x))
        x = x + self.self_out_norm(self.self_attention(query, (seen,), causal))
        return self._cross_attention_and_mlp(x, text, text_mask), seen

    def step(
        self,
        x: Float[Array, "R L D"],
        cache: Cache,
        position: Int[Array, " R"],
        reach: int,
        text: KeysValues,
        text_mask: Bool[Array, "R 1 1 T"],
    ) -> tuple[Float[Array, "R L D"], Cache]:
        """Runs the L positions from each row's own `position` on, and returns them with the cache that now holds them.

        Args:
          reach: all of them lie before it; only the parts of the cache up to there are read.
        """
        query, new = self.self_attention.queries_keys_values(self.self_norm(x))
        starts = np.cumsum([0] + [part.keys.shape[2] for part in cache])
        read = sum(start < reach for start in starts[:-1])
        seen = tuple(part.write(new, position - start) for part, start in zip(cache[:read], starts, strict=False))
        last_seen = position[:, None] + jnp.arange(x.shape[1])  # [R, L]
        mask = jnp.arange(starts[read]) <= last_seen[:, None, :, None]  # [R, 1, L, S]
        x = x + self.self_out_norm(self.self_attention(query, seen, mask))
        cache = seen + cache[read:]
        return self._cross_attention_and_mlp(x, text, text_mask), cache

    def text_keys_values(self, states: Float[Array, "B T D"]) -> KeysValues:
        """What `step` needs of the text: the same at every position, so made once."""
        return self.cross_attention.keys_values(states)

    def _cross_attention_and_mlp(self, x, text, text_mask):
        query = self.cross_attention.queries(self.cross_norm(x))
        x = x + self.cross_out_norm(self.cross_attention(query, (text,), text_mask))
        return x + self.feed_forward(x)
