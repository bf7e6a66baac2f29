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
LOWEST = float(jnp.finfo(jnp.float32).min)  # rather than -inf: who may look at nothing stays finite


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
      keys: [R, H, S, K], one entry for each of S positions; in a cache [B, H, S, K], in blocks of S positions.
      values: the same.
    """

    keys: Float[Array, "R H S K"]
    values: Float[Array, "R H S K"]


@struct.dataclass
class BlockTable:
    """Where R rows keep their positions: each has up to P of the B blocks of a cache, and its p-th block holds
    the positions from p·S on. After PagedAttention (arXiv:2309.06180), for sequences that end at a known length.

    Attributes:
      blocks: of each row, by part; B where it has none, and there nothing is read or written.
      row: whose each block is; of a block that nobody has it means nothing.
      part: which of its row's parts each block is; P where nobody has it.
    """

    blocks: Int[Array, "R P"]
    row: Int[Array, " B"]
    part: Int[Array, " B"]

    def write(self, cache: KeysValues, new: KeysValues, position: Int[Array, " R"]) -> KeysValues:
        """Puts one new entry per row (`new` has S = 1) at that row's own position."""
        size = cache.keys.shape[2]
        block, place = self.blocks[jnp.arange(position.shape[0]), position // size], position % size
        return KeysValues(
            keys=cache.keys.at[block, :, place].set(new.keys[:, :, 0], mode="drop"),
            values=cache.values.at[block, :, place].set(new.values[:, :, 0], mode="drop"),
        )

    def seen(self, size: int, position: Int[Array, " R"]) -> Bool[Array, "B S"]:
        """Which positions of each block its row has come to, `position` included."""
        return self.part[:, None] * size + jnp.arange(size) <= position[self.row][:, None]

    def of_rows(self, of_blocks: Float[Array, "B ..."], missing: float) -> Float[Array, "R P ..."]:
        """What the blocks of each row have, with `missing` where it has none."""
        has = (self.blocks < self.row.shape[0]).reshape(*self.blocks.shape, *[1] * (of_blocks.ndim - 1))
        return jnp.where(has, of_blocks[self.blocks], missing)


def _scores(query, keys, mask):
    scores = jnp.einsum("rhlk,rhsk->rhls", query, keys, preferred_element_type=jnp.float32)
    return jnp.where(mask, scores / math.sqrt(query.shape[-1]), LOWEST)


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
        scores = _scores(self._split_heads(self.query(x)), source.keys, mask)
        weights = jax.nn.softmax(scores).astype(source.values.dtype)
        mixed = jnp.einsum("rhls,rhsk->rlhk", weights, source.values)
        return self.out(mixed.reshape(x.shape))

    def over_blocks(
        self, x: Float[Array, "R 1 D"], cache: KeysValues, table: BlockTable, position: Int[Array, " R"]
    ) -> Float[Array, "R 1 D"]:
        """Lets one query per row look at all that its blocks hold up to its position.

        Products run over blocks, whoever has them; the softmax over all blocks of a row.
        """
        query = self._split_heads(self.query(x))[table.row]
        seen = table.seen(cache.keys.shape[2], position)
        scores = _scores(query, cache.keys, seen[:, None, None])[:, :, 0]  # [B, H, S]
        highest = table.of_rows(scores.max(-1), LOWEST).max(1)  # [R, H]
        weights = jnp.exp(scores - highest[table.row][..., None])
        mixed = jnp.einsum(
            "bhs,bhsk->bhk", weights.astype(cache.values.dtype), cache.values, preferred_element_type=jnp.float32
        )
        total = table.of_rows(weights.sum(-1), 0.0).sum(1)  # [R, H], at least 1 where a row has a block
        mixed = table.of_rows(mixed, 0.0).sum(1) / jnp.maximum(total, 1.0)[..., None]  # [R, H, K]
        return self.out(mixed.reshape(x.shape).astype(x.dtype))

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
        table: BlockTable,
        position: Int[Array, " R"],
        text: KeysValues,
        text_mask: Bool[Array, "R 1 1 T"],
    ) -> tuple[Float[Array, "R 1 D"], KeysValues]:
        """Runs one position per row and returns it with the cache that now holds it too."""
        h = self.self_norm(x)
        cache = table.write(cache, self.self_attention.keys_values(h), position)
        x = x + self.self_out_norm(self.self_attention.over_blocks(h, cache, table, position))
        return self._look_and_think(x, text, text_mask), cache

    def text_keys_values(self, states: Float[Array, "B T D"]) -> KeysValues:
        """What `step` needs of the text: the same at every position, so made once."""
        return self.cross_attention.keys_values(states)

    def _look_and_think(self, x, text, text_mask):
        h = self.cross_attention(self.cross_norm(x), text, text_mask)
        x = x + self.cross_out_norm(h)
        return x + self.feed_forward(x)
