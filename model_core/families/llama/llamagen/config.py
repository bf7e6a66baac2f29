"""The configuration of a LlamaGen that draws from captions: config.json → sizes. Imports no JAX.

LlamaGen publishes pickles without a configuration. The layout read here is ours: the fields of `ModelArgs` in
FoundationVision/LlamaGen (`autoregressive/models/gpt.py`), whose defaults absent fields mean.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.families.llama.sizes import BlockSizes
from model_core.weights.json_files import read_json, require_integers, require_numbers

CAPTION_LENGTH = 120  # positions that its code gives every caption

_SIZES = {"dim": 4096, "n_layer": 32, "n_head": 32, "multiple_of": 256, "caption_dim": 2048, "vocab_size": 16384}
_NUMBERS = {"rope_base": 10000, "norm_eps": 1e-5}


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaGenConfig:
    """The sizes of what draws codes in a LlamaGen.

    Attributes:
      blocks: of the network.
      caption_width: of the encoder states that a caption comes as.
      codebook: codes of an image.
      side: of the grid of codes.
      theta: the base of the rotary angles.
    """

    blocks: BlockSizes
    caption_width: int
    codebook: int
    side: int
    theta: float

    @property
    def grid(self) -> Grid:
        """The codes of one image."""
        return Grid(self.side, self.side, self.codebook)

    @property
    def condition_shape(self) -> tuple[int, int]:
        """Of the values of a `Condition`: encoder states [T, D]; zeros stand for no caption."""
        return CAPTION_LENGTH, self.caption_width

    @property
    def guides(self) -> bool:
        """It was trained without text, too."""
        return True

    @property
    def default_sampling(self) -> Mapping[str, float]:
        """The defaults of LlamaGen's own `sample_t2i.py`."""
        return {"guidance_scale": 7.5, "temperature": 1.0, "top_k": 1000, "top_p": 1.0}


def read_config(folder: Path) -> LlamaGenConfig:
    """Reads a folder's config.json.

    Raises:
      ModelNotFound, CorruptCheckpoint: there is no such folder or file, or it is no JSON.
      UnsupportedConfig: a size makes no sense, or a setting is not implemented.
    """
    raw = read_json(folder, "config.json")
    given = {name: value for name, value in raw.items() if value is not None}
    if (length := given.get("cls_token_num", CAPTION_LENGTH)) != CAPTION_LENGTH:
        raise UnsupportedConfig(f"cls_token_num is {length!r:.100}; only {CAPTION_LENGTH} is implemented.")
    sizes = {name: given.get(name, default) for name, default in _SIZES.items()}
    numbers = {name: given.get(name, default) for name, default in _NUMBERS.items()}
    numbers["ffn_dim_multiplier"] = given.get("ffn_dim_multiplier", 1)
    sizes |= {"n_kv_head": given.get("n_kv_head", sizes["n_head"]), "block_size": given.get("block_size", 256)}
    require_integers("LlamaGen config", sizes)
    require_numbers("LlamaGen config", numbers)
    dim, heads, side = sizes["dim"], sizes["n_head"], math.isqrt(sizes["block_size"])
    if side**2 != sizes["block_size"]:
        raise UnsupportedConfig(f"block_size is {sizes['block_size']}; it must be the square of an integer.")
    if dim % heads or dim // heads % 4:
        raise UnsupportedConfig(f"n_head is {heads}; dim, {dim}, must divide by four times it, for rows and columns.")
    hidden = int(numbers["ffn_dim_multiplier"] * int(2 * 4 * dim / 3))
    blocks = BlockSizes(
        width=dim,
        layers=sizes["n_layer"],
        heads=heads,
        kv_heads=sizes["n_kv_head"],
        head_width=dim // heads,
        hidden=-(-hidden // sizes["multiple_of"]) * sizes["multiple_of"],
        eps=numbers["norm_eps"],
    )
    return LlamaGenConfig(
        blocks=blocks,
        caption_width=sizes["caption_dim"],
        codebook=sizes["vocab_size"],
        side=side,
        theta=float(numbers["rope_base"]),
    )
