"""Published Janus files → our tree: transformers' names, or those of DeepSeek's own code, which fine-tunes have.

What is for understanding pictures (its vision tower and aligner, the language model's head) and what is the codec's is
passed over.
"""

import re
from pathlib import Path

from model_core.families.llama.layout import Names
from model_core.families.llama.layout import layout as assembled
from model_core.weights.weight_files import Index, Shapes

# DeepSeek's beginning of a name → transformers'. The longer comes first.
_FROM_DEEPSEEK = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "gen_embed.": "model.generation_embeddings.",
    "gen_aligner.layers.0.": "model.generation_aligner.fc1.",
    "gen_aligner.layers.2.": "model.generation_aligner.hidden_layers.0.",
    "gen_head.output_mlp_projector.": "model.generation_head.proj_out.",
    "gen_head.vision_head.": "model.generation_head.vision_head.",
    "gen_vision_model.": "model.vqmodel.",
    "vision_model.": "model.vision_model.",
    "aligner.": "model.aligner.",
}
_NOT_NEEDED = ("model.vision_model.", "model.aligner.", "model.vqmodel.", "lm_head.")
_NO_WEIGHT = re.compile(r"\.rotary_emb\.inv_freq$")  # old files hold what can be computed

NAMES = Names(
    layer="model.language_model.layers.{}.",
    queries_keys_values=tuple(f"self_attn.{part}_proj.weight" for part in "qkv"),
    of_layer={
        "attention_norm": "input_layernorm.weight",
        "out": "self_attn.o_proj.weight",
        "mlp_norm": "post_attention_layernorm.weight",
        "gate": "mlp.gate_proj.weight",
        "up": "mlp.up_proj.weight",
        "down": "mlp.down_proj.weight",
    },
    others={
        "words": "model.language_model.embed_tokens.weight",
        "codes": "model.generation_embeddings.weight",
        "aligner/0/kernel": "model.generation_aligner.fc1.weight",
        "aligner/0/bias": "model.generation_aligner.fc1.bias",
        "aligner/1/kernel": "model.generation_aligner.hidden_layers.0.weight",
        "aligner/1/bias": "model.generation_aligner.hidden_layers.0.bias",
        "norm": "model.language_model.norm.weight",
        "head/0/kernel": "model.generation_head.proj_out.weight",
        "head/0/bias": "model.generation_head.proj_out.bias",
        "head/1/kernel": "model.generation_head.vision_head.weight",
        "head/1/bias": "model.generation_head.vision_head.bias",
    },
)


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Turns the names of either layout into those of `shapes`. Raises as `llama.layout.layout`."""
    named = {_transformers_name(name): stored for name, stored in index.items()}
    kept = {
        name: stored for name, stored in named.items() if not (name.startswith(_NOT_NEEDED) or _NO_WEIGHT.search(name))
    }
    return assembled(path, kept, shapes, NAMES)


def _transformers_name(name: str) -> str:
    for theirs, ours in _FROM_DEEPSEEK.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
