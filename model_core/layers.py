"""The transformer blocks of DALL·E mini: attention, gated feed-forward, encoder layer, decoder layer.

Knows nothing of vocabularies, embeddings, checkpoints or sampling. Blocks compute in the dtype of their parameters;
softmax and layer norm run in float32. Attribute names read well, `name=` keeps the keys of the published checkpoints.

After NormFormer (arXiv:2110.09456) for the places of the layer norms and GLU variants (arXiv:2002.05202) for the
feed-forward, as dalle-mini (github.com/borisdayma/dalle-mini) combines them: no biases in products, and no scale in a
layer norm that feeds a product.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

FEW_ROWS = 2


def product(x, kernel, dimension_numbers, **options):
    """`lax.dot_general` for a dense layer; on a CPU, rows of one position each take a way of their own.

    XLA's CPU backend copies the right side of a product piece by piece into the order that its inner loops want, and
    reads the left side as it lies. So the kernel goes to the left, and the rows, which are few, to the right; one or
    two of them go one after the other, which suits small kernels better. Best where `kernel` is the transpose of what
    lies in memory, as `decoding.decoder_weights` keeps it.
    """
    multiply = partial(jax.lax.dot_general, dimension_numbers=dimension_numbers, **options)
    if x.shape[-2] > 1:
        return multiply(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=_kernel_on_the_left, default=multiply)


def _kernel_on_the_left(x, kernel):
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) <= FEW_ROWS:
        return jnp.stack([kernel.T @ row for row in rows]).reshape(*x.shape[:-1], kernel.shape[-1])
    columns = jnp.einsum("do,rd->or", kernel, rows)
    columns = jax.lax.optimization_barrier(columns)  # or XLA would turn the product around again
    return columns.T.reshape(*x.shape[:-1], kernel.shape[-1])


dense = partial(nn.Dense, use_bias=False, dot_general=product)
scaled_norm = partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)
norm = partial(scaled_norm, use_scale=False)  # in front of a product, whose kernel already scales


@struct.dataclass
class KeysValues:
    """What attention looks at, heads before positions: the layout that one decode step reads fastest.

    Attributes:
      keys: [R, H, S, K], one entry for each of S positions.
      values: [R, H, S, K].
    """

    keys: Float[Array, "R H S K"]
    values: Float[Array, "R H S K"]

    def write(self, new: "KeysValues", position: Int[Array, " R"]) -> "KeysValues":
        """Puts one new entry per row (`new` has S = 1) at that row's own position."""
        row = jnp.arange(position.shape[0])
        return KeysValues(
            keys=self.keys.at[row, :, position].set(new.keys[:, :, 0]),
            values=self.values.at[row, :, position].set(new.values[:, :, 0]),
        )


class Attention(nn.Module):
    """Multi-head attention whose keys and values are made apart, so that they can be kept.

    Attributes:
      width: D, of inputs and outputs.
      num_heads: H, divides `width`.
      init_std: standard deviation of fresh kernels.
    """

    width: int
    num_heads: int
    init_std: float

    def setup(self):
        square = partial(dense, self.width, kernel_init=nn.initializers.normal(self.init_std))
        self.query = square(name="q_proj")
        self.key = square(name="k_proj")
        self.value = square(name="v_proj")
        self.out = square(name="out_proj")

    def keys_values(self, x: Float[Array, "R S D"]) -> KeysValues:
        return KeysValues(keys=self._split_heads(self.key(x)), values=self._split_heads(self.value(x)))

    def __call__(
        self, x: Float[Array, "R L D"], source: KeysValues, mask: Bool[Array, "#R 1 #L S"]
    ) -> Float[Array, "R L D"]:
        """Lets each of L queries look at those of S positions where the mask is true."""
        query = self._split_heads(self.query(x))
        scores = jnp.einsum("rhlk,rhsk->rhls", query, source.keys, preferred_element_type=jnp.float32)
        scores = scores / math.sqrt(query.shape[-1])
        # The lowest finite number rather than -inf: a row whose mask is all false stays finite.
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(scores).astype(source.values.dtype)
        mixed = jnp.einsum("rhls,rhsk->rlhk", weights, source.values)
        return self.out(mixed.reshape(x.shape))

    def _split_heads(self, x):
        return x.reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2)  # [R, H, S, K]


class GLU(nn.Module):
    """Feed-forward with a gate: norm, gelu(a)·b, norm, product.

    Attributes:
      width: D, of inputs and outputs.
      hidden: F, of the gated part.
      init_std: standard deviation of fresh kernels.
    """

    width: int
    hidden: int
    init_std: float

    @nn.compact
    def __call__(self, x: Float[Array, "R L D"]) -> Float[Array, "R L D"]:
        linear = partial(dense, kernel_init=nn.initializers.normal(self.init_std))
        x = norm(name="LayerNorm_0")(x)
        gate = nn.gelu(linear(self.hidden, name="Dense_0")(x), approximate=False)
        x = gate * linear(self.hidden, name="Dense_1")(x)
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
        h = norm(name="LayerNorm_0")(x)
        h = attention(h, attention.keys_values(h), mask)
        x = x + scaled_norm(name="LayerNorm_1")(h)
        return x + GLU(self.width, self.hidden, self.init_std, name="GLU_0")(x), None


class DecoderLayer(nn.Module):
    """Causal self-attention, attention over the text, feed-forward.

    `__call__` and `read` see all positions at once; `step` sees one per row and keeps the earlier ones in a cache.
    """

    width: int
    num_heads: int
    hidden: int
    init_std: float

    def setup(self):
        self.self_norm = norm(name="LayerNorm_0")
        self.self_attention = Attention(self.width, self.num_heads, self.init_std, name="FlaxBartAttention_0")
        self.self_out_norm = scaled_norm(name="LayerNorm_1")
        self.cross_norm = norm(name="LayerNorm_2")
        self.cross_attention = Attention(self.width, self.num_heads, self.init_std, name="FlaxBartAttention_1")
        self.cross_out_norm = scaled_norm(name="LayerNorm_3")
        self.feed_forward = GLU(self.width, self.hidden, self.init_std, name="GLU_0")

    def __call__(
        self, x: Float[Array, "B L D"], states: Float[Array, "B T D"], text_mask: Bool[Array, "B 1 1 T"]
    ) -> tuple[Float[Array, "B L D"], None]:
        """Runs all positions, each looking at itself and those before. Returns (x, None), as a scan wants it."""
        return self.read(x, self.text_keys_values(states), text_mask)[0], None

    def read(
        self, x: Float[Array, "B L D"], text: KeysValues, text_mask: Bool[Array, "B 1 1 T"]
    ) -> tuple[Float[Array, "B L D"], KeysValues]:
        """Runs all positions, and returns them with what a cache holds after `step` has seen each of them."""
        h = self.self_norm(x)
        causal = jnp.tri(x.shape[1], dtype=bool)[None, None]  # [1, 1, L, L]
        seen = self.self_attention.keys_values(h)
        x = x + self.self_out_norm(self.self_attention(h, seen, causal))
        return self._look_and_think(x, text, text_mask), seen

    def step(
        self,
        x: Float[Array, "R 1 D"],
        cache: KeysValues,
        position: Int[Array, " R"],
        text: KeysValues,
        text_mask: Bool[Array, "R 1 1 T"],
    ) -> tuple[Float[Array, "R 1 D"], KeysValues]:
        """Runs one position per row and returns it with the cache that now holds it too."""
        h = self.self_norm(x)
        cache = cache.write(self.self_attention.keys_values(h), position)
        seen = jnp.arange(cache.keys.shape[2]) <= position[:, None, None, None]  # [R, 1, 1, N]
        x = x + self.self_out_norm(self.self_attention(h, cache, seen))
        return self._look_and_think(x, text, text_mask), cache

    def text_keys_values(self, states: Float[Array, "B T D"]) -> KeysValues:
        """What `step` needs of the text: the same at every position, so made once."""
        return self.cross_attention.keys_values(states)

    def _look_and_think(self, x, text, text_mask):
        h = self.cross_attention(self.cross_norm(x), text, text_mask)
        x = x + self.cross_out_norm(h)
        return x + self.feed_forward(x)
