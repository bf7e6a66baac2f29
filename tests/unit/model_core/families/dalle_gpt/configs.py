"""Tiny models of every kind, with random weights."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model_core.families.dalle_gpt import config as configs
from model_core.families.dalle_gpt import family as dalle_gpt

DALLE_PYTORCH: dict[str, Any] = {
    "model_type": "dalle_gpt",
    "layout": "dalle_pytorch",
    "hparams": {
        "num_text_tokens": 20,
        "text_seq_len": 4,
        "dim": 18,
        "depth": 4,
        "heads": 2,
        "dim_head": 13,
        "attn_types": ["full", "axial_row", "axial_col", "conv_like"],
        "shift_tokens": True,
        "rotary_emb": True,
    },
    "vae_class_name": "DiscreteVAE",
    "vae_params": {"image_size": 16, "num_layers": 2, "num_tokens": 11},
    "tokenizer": {"kind": "simple", "file": "merges.txt"},
}
RUDALLE: dict[str, Any] = {
    "model_type": "dalle_gpt",
    "layout": "rudalle",
    "hf_version": "v3",
    "model_params": {
        "num_layers": 3,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "image_tokens_per_dim": 4,
        "text_seq_length": 4,
        "cogview_sandwich_layernorm": True,
        "cogview_pb_relax": True,
        "vocab_size": 24,
        "image_vocab_size": 11,
    },
    "tokenizer": "bpe.model",
}
MINDALLE: dict[str, Any] = {
    "model_type": "dalle_gpt",
    "layout": "mindalle",
    "stage2": {
        "type": "transformer1d",
        "vocab_size_txt": 24,
        "vocab_size_img": 11,
        "hparams": {"embed_dim": 16, "n_layers": 2, "n_heads": 2, "ctx_len_img": 16, "ctx_len_txt": 4},
    },
}


def changed(raw: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A configuration with other values, in whichever section knows the name, else in the last."""
    raw = copy.deepcopy(raw)
    sections = [raw, *(value for value in raw.values() if isinstance(value, dict))]
    sections += [value for section in sections[1:] for value in section.values() if isinstance(value, dict)]
    for name, value in values.items():
        home = next((section for section in sections if name in section), None)
        if home is None:
            home = raw.get("hparams") or raw.get("model_params") or raw["stage2"]["hparams"]
        home[name] = value
    return raw


KINDS: dict[str, dict[str, Any]] = {
    "rotary": DALLE_PYTORCH,
    "reversible": changed(
        DALLE_PYTORCH,
        rotary_emb=False,
        reversible=True,
        stable=True,
        sandwich_norm=True,
        share_input_output_emb=True,
        attn_types=["conv_like", "full"],
        shared_attn_ids=[0, 1, 0, 1],
        shared_ff_ids=["a"],
    ),
    "rudalle_v3": RUDALLE,
    "rudalle_v2": changed(RUDALLE, hf_version="v2"),
    "mindalle": MINDALLE,
}


def random_model(raw: dict[str, Any], dtype: str = "float32") -> tuple[configs.DalleGptConfig, dict[str, Any]]:
    """Weights that make the layers, and what they look at, tell."""
    config, rng = configs.from_dict(raw), np.random.default_rng(0)

    def leaf(path: Any, shape: Any) -> jax.Array:
        around = 1.0 if path[-1].key == "weight" and len(shape.shape) == 1 else 0.0
        scale = 1.5 / np.sqrt(shape.shape[-1]) if len(shape.shape) > 1 else 0.3
        return jnp.asarray(around + scale * rng.normal(size=shape.shape), dtype)

    return config, jax.tree_util.tree_map_with_path(leaf, dalle_gpt.param_shapes(config))
