"""The sizes of a stack of Llama blocks. Imports no JAX: the gateway reads grids."""

from dataclasses import dataclass

from model_core.errors import UnsupportedConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSizes:
    """The sizes of equal Llama blocks, one after another.

    Attributes:
      width: D, of inputs and outputs.
      layers: how many blocks.
      heads: that ask; a multiple of `kv_heads`.
      kv_heads: that are asked: keys and values.
      head_width: K, of one head; even, for pairs of it are rotated.
      hidden: F, of the gated feed-forward.
      eps: added to the mean square in a norm.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    eps: float

    def __post_init__(self):
        if self.heads % self.kv_heads:
            raise UnsupportedConfig(
                f"There are {self.heads} heads and {self.kv_heads} of keys and values; the first must be a multiple "
                "of the second."
            )
        if self.head_width % 2:
            raise UnsupportedConfig(f"A head is {self.head_width} wide; it must be even, for pairs are rotated.")
