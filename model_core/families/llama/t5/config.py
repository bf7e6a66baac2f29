"""The configuration of a T5 encoder, as transformers writes it: config.json → sizes. Imports no JAX."""

from dataclasses import dataclass
from pathlib import Path

from model_core.errors import UnsupportedConfig
from model_core.families.llama.sizes import BlockSizes
from model_core.weights.json_files import read_json, require_integers, require_numbers

# What transformers takes for what config.json leaves out.
_SIZES = {
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "vocab_size": 32128,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Config:
    """The sizes of a T5 encoder.

    Attributes:
      blocks: of the network.
      vocabulary: text tokens.
      buckets: of distances, each with a bias of its own.
      furthest: distances from here on are in the last bucket.
    """

    blocks: BlockSizes
    vocabulary: int
    buckets: int
    furthest: int


def read_config(folder: Path) -> T5Config:
    """Reads a folder's config.json.

    Raises:
      ModelNotFound, CorruptCheckpoint: there is no such folder or file, or it is no JSON.
      UnsupportedConfig: a size makes no sense, or the feed-forward is not flan-t5's.
    """
    raw = read_json(folder, "config.json")
    kind = raw.get("feed_forward_proj", "relu")
    if kind != "gated-gelu":
        raise UnsupportedConfig(
            f"feed_forward_proj is {kind!r:.100}; only 'gated-gelu', as flan-t5 has, is implemented."
        )
    sizes = {name: raw.get(name, default) for name, default in _SIZES.items()}
    eps = raw.get("layer_norm_epsilon", 1e-6)
    require_integers("T5 config", sizes)
    require_numbers("T5 config", {"layer_norm_epsilon": eps})
    buckets, furthest = sizes["relative_attention_num_buckets"], sizes["relative_attention_max_distance"]
    if buckets % 4 or furthest <= buckets // 4:
        raise UnsupportedConfig(
            f"T5 config: relative_attention_num_buckets is {buckets} and relative_attention_max_distance {furthest}; "
            "the first must divide by 4, and the second be above a quarter of it."
        )
    blocks = BlockSizes(
        width=sizes["d_model"],
        layers=sizes["num_layers"],
        heads=sizes["num_heads"],
        kv_heads=sizes["num_heads"],
        head_width=sizes["d_kv"],
        hidden=sizes["d_ff"],
        eps=eps,
    )
    return T5Config(blocks=blocks, vocabulary=sizes["vocab_size"], buckets=buckets, furthest=furthest)
