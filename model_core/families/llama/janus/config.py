"""The configuration of a Janus: config.json, of transformers' layout or of DeepSeek's → sizes. Imports no JAX.

After transformers 4.57 and 5.24 (`models/janus`) and deepseek-ai/Janus, whose absent fields mean the values below.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_core.errors import CorruptCheckpoint, UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.families.llama.sizes import BlockSizes
from model_core.weights.json_files import read_json, require_integers, require_numbers
from model_core.weights.weight_files import SAFETENSORS_INDEX, SAFETENSORS_WEIGHTS

MAX_TEXT_LENGTH = (
    128  # ours: each row keeps so many positions of its text; "max_text_length" in config.json says otherwise
)

# What DeepSeek and transformers take for the sizes of a Llama that config.json leaves out.
_LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
}
_LLAMA_ONLY = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
_VQ_ONLY = {"num_hidden_layers": 2, "hidden_act": "gelu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JanusConfig:
    """The sizes of what draws codes in a Janus.

    Attributes:
      blocks: of the language model.
      vocabulary: text tokens that it has embeddings of.
      codebook: codes of an image.
      code_width: of a code's embedding, before the aligner.
      side: of the grid of codes.
      theta: the base of the rotary angles.
      text_length: T, room for a text's tokens.
      is_deepseeks: the files have the names of DeepSeek's own code.
    """

    blocks: BlockSizes
    vocabulary: int
    codebook: int
    code_width: int
    side: int
    theta: float
    text_length: int = MAX_TEXT_LENGTH
    is_deepseeks: bool = False

    @property
    def grid(self) -> Grid:
        """The codes of one image."""
        return Grid(self.side, self.side, self.codebook)

    @property
    def condition_shape(self) -> tuple[int]:
        """Of the values of a `Condition`: token ids [T]."""
        return (self.text_length,)

    @property
    def guides(self) -> bool:
        """It was trained without text, too."""
        return True

    @property
    def default_sampling(self) -> Mapping[str, float]:
        """The defaults of DeepSeek's own code, with which its pictures were shown; transformers has a top_k of 50."""
        return {"guidance_scale": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def read_config(folder: Path) -> JanusConfig:
    """Reads a folder's config.json.

    Raises:
      ModelNotFound, CorruptCheckpoint: there is no such folder or file, or it is no JSON; or the weights are pickles.
      UnsupportedConfig: a size is missing or makes no sense, or a setting is not implemented.
    """
    raw = read_json(folder, "config.json")
    is_deepseeks = raw.get("model_type") == "multi_modality"
    config = _from_deepseek(raw) if is_deepseeks else _from_transformers(raw)
    _refuse_pickles(folder, config)
    return config


def _refuse_pickles(folder: Path, config: JanusConfig) -> None:
    """Names the repository to take instead where there are DeepSeek's own pickles, or what is left without them."""
    pickles = ", ".join(sorted(path.name for path in folder.glob("pytorch_model*.bin*")))
    if any((folder / name).is_file() for name in (SAFETENSORS_WEIGHTS, SAFETENSORS_INDEX)):
        return
    if pickles or config.is_deepseeks:
        size = "7B" if config.blocks.width == 4096 else "1B"
        found = f"weights as pickles ({pickles}), which are never read" if pickles else f"no {SAFETENSORS_WEIGHTS}"
        raise CorruptCheckpoint(
            f"{folder} holds {found}. Take deepseek-community/Janus-Pro-{size}, which has the same weights as "
            f"safetensors: dalle-serve models download deepseek-community/Janus-Pro-{size}"
        )


def _from_transformers(raw: dict[str, Any]) -> JanusConfig:
    text, vq, vision = (_section(raw, name) for name in ("text_config", "vq_config", "vision_config"))
    _require_only("vq_config", vq, _VQ_ONLY)
    sizes = {
        "image_size": vision.get("image_size", 384),
        "patch_size": vision.get("patch_size", 16),
        "num_embeddings": vq.get("num_embeddings", 16384),
        "embed_dim": vq.get("embed_dim", 8),
    }
    require_integers("Janus config", sizes)
    side = sizes["image_size"] // sizes["patch_size"]
    drawn = vision.get("num_image_tokens", 576)
    if drawn != side**2:
        raise UnsupportedConfig(
            f"Janus config: num_image_tokens is {drawn!r:.100}; {side} × {side} codes are drawn, for image_size is "
            f"{sizes['image_size']} and patch_size {sizes['patch_size']}."
        )
    return _config(raw, text, vq, side, sizes["num_embeddings"], sizes["embed_dim"], is_deepseeks=False)


def _from_deepseek(raw: dict[str, Any]) -> JanusConfig:
    text = _section(raw, "language_config")
    params = {
        name: _section(_section(raw, name), "params")
        for name in ("gen_vision_config", "gen_aligner_config", "gen_head_config")
    }
    if (depth := params["gen_aligner_config"].get("depth", 2)) != 2:
        raise UnsupportedConfig(f"gen_aligner_config.params.depth is {depth!r:.100}; only 2 is implemented.")
    codes, width = (params["gen_vision_config"].get(*each) for each in (("image_token_size", 16384), ("n_embed", 8)))
    require_integers("gen_vision_config.params", {"image_token_size": codes, "n_embed": width})
    return _config(raw, text, {}, 24, codes, width, is_deepseeks=True)  # 384 × 384 pixels, as its code says


def _config(raw, text, vq, side, codebook, code_width, *, is_deepseeks) -> JanusConfig:
    _require_only("the language model's configuration", text, _LLAMA_ONLY)
    sizes = _LLAMA | {name: text[name] for name in _LLAMA if text.get(name) is not None}
    heads = sizes["num_attention_heads"]
    require_integers("Janus config", sizes)
    sizes["num_key_value_heads"] = text.get("num_key_value_heads") or heads
    sizes["head_dim"] = text.get("head_dim") or sizes["hidden_size"] // heads
    numbers = {"rms_norm_eps": text.get("rms_norm_eps", 1e-6), "rope_theta": _theta(text)}
    require_integers("Janus config", sizes)
    require_numbers("Janus config", numbers)
    width = sizes["hidden_size"]
    for name in ("projection_dim", "image_token_embed_dim"):
        if vq.get(name, width) != width:
            raise UnsupportedConfig(
                f"vq_config.{name} is {vq[name]!r:.100}; only hidden_size, {width}, is implemented."
            )
    room = sizes["max_position_embeddings"] - side**2
    length = raw.get("max_text_length", min(MAX_TEXT_LENGTH, room))
    require_integers("Janus config", {"max_text_length": length}, 16)
    if length > room:
        raise UnsupportedConfig(f"Janus config: max_text_length is {length}; with an image's codes at most {room} fit.")
    blocks = BlockSizes(
        width=width,
        layers=sizes["num_hidden_layers"],
        heads=heads,
        kv_heads=sizes["num_key_value_heads"],
        head_width=sizes["head_dim"],
        hidden=sizes["intermediate_size"],
        eps=numbers["rms_norm_eps"],
    )
    return JanusConfig(
        blocks=blocks,
        vocabulary=sizes["vocab_size"],
        codebook=codebook,
        code_width=code_width,
        side=side,
        theta=float(numbers["rope_theta"]),
        text_length=length,
        is_deepseeks=is_deepseeks,
    )


def _theta(text: dict[str, Any]) -> Any:
    """The rotary base, from where transformers 4 (`rope_theta`) or 5 (`rope_parameters`) writes it."""
    for name in ("rope_parameters", "rope_scaling"):
        kind = _section(text, name)
        kind = kind.get("rope_type", kind.get("type", "default"))
        if kind != "default":
            raise UnsupportedConfig(f"{name} asks for {kind!r:.100}; only 'default' is implemented.")
    return _section(text, "rope_parameters").get("rope_theta", text.get("rope_theta", 10000.0))


def _section(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """An object inside a configuration; absent and null mean an empty one."""
    section = raw.get(name) or {}
    if not isinstance(section, dict):
        raise UnsupportedConfig(f"{name} is {section!r:.100}; it must be an object.")
    return section


def _require_only(where: str, section: dict[str, Any], only: dict[str, Any]) -> None:
    for name, value in only.items():
        if section.get(name, value) != value:
            raise UnsupportedConfig(f"{name} in {where} is {section[name]!r:.100}; only {value!r} is implemented.")
