"""The configuration of a DalleGpt: what each published network writes about itself → sizes. Imports no JAX.

config.json has the `model_type` "dalle_gpt", and a `layout` that says whose words the rest is in:

* `dalle_pytorch`: `hparams` as dalle.pt has them; the codec's `vae_class_name`, `vae_params` (of a DiscreteVAE),
  `vae_config` (the YAML of a VQGAN) and `vae_image_size`, which tell the grid.
* `rudalle`: `hf_version` ("v2", "v3") and `model_params`, as rudalle's own table of models has them.
* `mindalle`: `stage2` of config.yaml.

All have a `tokenizer`; see `text.open_tokenizer`.

After DALLE-pytorch 1.6.6 (github.com/lucidrains/DALLE-pytorch), rudalle 1.1.3 (github.com/ai-forever/ru-dalle) and
minDALL-E (github.com/kakaobrain/minDALL-E, e548007).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from model_core.errors import UnsupportedConfig
from model_core.families.dalle_gpt.sizes import Attention, DalleGptConfig
from model_core.weights.json_files import read_json, require_integers

MODEL_TYPE = "dalle_gpt"

_FILTER_THRES = 0.9  # of DALLE-pytorch's generate.py
_DALLE_PYTORCH_ATTENTION = ("full", "axial_row", "axial_col", "conv_like")


def read_config(folder: Path) -> DalleGptConfig:
    """Reads a folder's config.json.

    Raises:
      ModelNotFound, CorruptCheckpoint: as `read_json`.
      UnsupportedConfig: a size is missing or makes no sense, or something has a value that is not implemented.
    """
    return from_dict(read_json(folder, "config.json"))


def from_dict(raw: dict[str, Any]) -> DalleGptConfig:
    """Reads a parsed config.json; raises UnsupportedConfig as `read_config`."""
    layout = raw.get("layout")
    if raw.get("model_type") != MODEL_TYPE or not isinstance(layout, str) or layout not in _LAYOUTS:
        raise UnsupportedConfig(
            f"config.json has the model_type {raw.get('model_type')!r:.100} and the layout {layout!r:.100}; "
            f"it must be {MODEL_TYPE!r} with one of {', '.join(_LAYOUTS)}."
        )
    return _LAYOUTS[layout](raw)


def _dalle_pytorch(raw: dict[str, Any]) -> DalleGptConfig:
    hparams = _section(raw, "hparams")
    sizes = {"heads": 8, "dim_head": 64} | {
        name: hparams[name]
        for name in ("num_text_tokens", "text_seq_len", "dim", "depth", "heads", "dim_head")
        if hparams.get(name) is not None
    }
    _require("hparams", sizes, "num_text_tokens", "text_seq_len", "dim", "depth", "heads", "dim_head")
    depth, text = sizes["depth"], sizes["text_seq_len"]
    if hparams.get("sparse_attn"):
        raise UnsupportedConfig(_refusal("sparse_attn"))
    kinds = hparams.get("attn_types") or ("full",)
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    for kind in kinds:
        if kind not in _DALLE_PYTORCH_ATTENTION:
            raise UnsupportedConfig(_refusal(f"attn_types with {kind!r:.100}"))
    attention: tuple[Any, ...] = tuple(islice(cycle(kinds), depth))
    side, codebook = _grid_of_codec(raw)
    rotary = bool(hparams.get("rotary_emb"))  # old files lack it, and shift_tokens: they had neither
    vocabulary = sizes["num_text_tokens"] + text
    # The reference counts over text tokens, pads and codes, of which only codes can be among the likeliest.
    top_k = max(int((1 - _FILTER_THRES) * (vocabulary + codebook)), 1)
    return DalleGptConfig(
        text_length=text,
        text_vocab=vocabulary,
        begin_id=0,
        first_pad=sizes["num_text_tokens"],
        side=side,
        codebook=codebook,
        width=sizes["dim"],
        heads=sizes["heads"],
        head_size=sizes["dim_head"],
        hidden=4 * sizes["dim"],
        activation="geglu",
        attention=attention,
        attention_of=_shared("shared_attn_ids", hparams, depth, attention),
        feed_forward_of=_shared("shared_ff_ids", hparams, depth),
        has_sandwich_norms=bool(hparams.get("sandwich_norm")),
        has_scales=True,
        has_query_bias=False,
        is_reversible=bool(hparams.get("reversible")),
        is_divided=bool(hparams.get("stable")),
        is_rotary=rotary,
        is_tied=bool(hparams.get("share_input_output_emb")),
        shifts=bool(hparams.get("shift_tokens")),
        text_positions=0 if rotary else text + 1,
        guides=True,
        sampling=_sampling(top_k=0 if top_k >= codebook else top_k),
    )


def _grid_of_codec(raw: dict[str, Any]) -> tuple[int, int]:
    """Side and codebook; DALLE-pytorch asks its codec for both."""
    name = raw.get("vae_class_name")
    if name == "OpenAIDiscreteVAE":
        return 32, 8192
    if name == "DiscreteVAE":
        sizes = _section(raw, "vae_params")
        _require("vae_params", sizes, "image_size", "num_layers", "num_tokens")
        return _divided("image_size", sizes["image_size"], 2 ** min(sizes["num_layers"], 31)), sizes["num_tokens"]
    if name == "VQGanVAE":
        params = _section(_section(_section(raw, "vae_config"), "model"), "params")
        encoder = _section(params, "ddconfig")
        resolutions = encoder.get("attn_resolutions")
        at = resolutions[0] if isinstance(resolutions, list) and resolutions else None
        sizes = {"vae_image_size": raw.get("vae_image_size", 256), "n_embed": params.get("n_embed")}
        sizes |= {"resolution": encoder.get("resolution"), "attn_resolutions[0]": at}
        _require("vae_config", sizes, *sizes)
        factor = _divided("resolution", sizes["resolution"], sizes["attn_resolutions[0]"])
        return _divided("vae_image_size", sizes["vae_image_size"], factor), sizes["n_embed"]
    raise UnsupportedConfig(
        f"vae_class_name is {name!r:.100}; it must be DiscreteVAE, OpenAIDiscreteVAE or VQGanVAE: it tells the grid."
    )


def _rudalle(raw: dict[str, Any]) -> DalleGptConfig:
    params, version = _section(raw, "model_params"), raw.get("hf_version")
    if version not in ("v2", "v3"):
        raise UnsupportedConfig(f"hf_version is {version!r:.100}; it must be 'v2' or 'v3'.")
    names = ("num_layers", "hidden_size", "num_attention_heads", "image_tokens_per_dim", "text_seq_length")
    _require("model_params", params, *names, "vocab_size", "image_vocab_size")
    if params.get("mlp_activation", "gelu_jit") not in ("gelu_jit", "gelu"):
        raise UnsupportedConfig(_refusal(f"mlp_activation {params['mlp_activation']!r:.100}"))
    depth, width, text = params["num_layers"], params["hidden_size"], params["text_seq_length"]
    is_old = version == "v2"
    last: Attention = "conv_wrapped" if is_old else "conv"
    return DalleGptConfig(
        text_length=text,
        text_vocab=params["vocab_size"],
        begin_id=2 if is_old else None,
        first_pad=_difference("vocab_size", params["vocab_size"], "text_seq_length", text),
        side=params["image_tokens_per_dim"],
        codebook=params["image_vocab_size"],
        width=width,
        heads=params["num_attention_heads"],
        head_size=_divided("hidden_size", width, params["num_attention_heads"]),
        hidden=4 * width,
        activation="gelu_tanh",
        attention=tuple("axial_col" if i % 4 == 1 else "row" if i < depth - 1 else last for i in range(depth)),
        attention_of=tuple(range(depth)),
        feed_forward_of=tuple(range(depth)),
        late_cells=int(is_old),  # its masks know nothing of the token in front
        has_sandwich_norms=bool(params.get("cogview_sandwich_layernorm")),
        has_final_norm=True,
        is_clamped=True,
        text_positions=text + 1,
        sampling=_sampling(top_k=2048, top_p=0.995),
    )


def _mindalle(raw: dict[str, Any]) -> DalleGptConfig:
    stage = _section(raw, "stage2")
    params = _section(stage, "hparams")
    _require("stage2", stage, "vocab_size_txt", "vocab_size_img")
    _require("stage2.hparams", params, "embed_dim", "n_layers", "n_heads", "ctx_len_img", "ctx_len_txt")
    only = {"mlp_bias": True, "attn_bias": True, "n_classes": None}
    for name, value in only.items():
        if params.get(name, value) != value:
            raise UnsupportedConfig(_refusal(f"{name} {params[name]!r:.100}"))
    if stage.get("type", "transformer1d") != "transformer1d":
        raise UnsupportedConfig(_refusal(f"type {stage['type']!r:.100}"))
    side = math.isqrt(params["ctx_len_img"])
    if side**2 != params["ctx_len_img"]:
        raise UnsupportedConfig(f"ctx_len_img is {params['ctx_len_img']}; it must be the square of an integer.")
    depth, width = params["n_layers"], params["embed_dim"]
    return DalleGptConfig(
        text_length=params["ctx_len_txt"],
        text_vocab=stage["vocab_size_txt"],
        begin_id=None,
        first_pad=None,
        side=side,
        codebook=stage["vocab_size_img"],
        width=width,
        heads=params["n_heads"],
        head_size=_divided("embed_dim", width, params["n_heads"]),
        hidden=4 * width,
        activation="gelu_sigmoid" if params.get("gelu_use_approx") else "gelu",
        attention=("full",) * depth,
        attention_of=tuple(range(depth)),
        feed_forward_of=tuple(range(depth)),
        has_head_bias=False,
        positions="each",
        text_positions=params["ctx_len_txt"],
        scores_text=bool(params.get("use_head_txt", True)),
        sampling=_sampling(top_k=256),
    )


_LAYOUTS: Mapping[str, Callable[[dict[str, Any]], DalleGptConfig]] = MappingProxyType(
    {"dalle_pytorch": _dalle_pytorch, "rudalle": _rudalle, "mindalle": _mindalle}
)


def _sampling(*, top_k: int, top_p: float = 1.0) -> tuple[tuple[str, float], ...]:
    return tuple({"guidance_scale": 1.0, "temperature": 1.0, "top_k": top_k, "top_p": top_p}.items())


def _shared(name: str, hparams: dict[str, Any], depth: int, kinds: Sequence[str] | None = None) -> tuple[int, ...]:
    """For each layer the first one that has its id; ids are cycled over the layers, as kinds of attention are."""
    given = hparams.get(name)
    if given is None:
        return tuple(range(depth))
    if not isinstance(given, list | tuple) or not given or not all(type(i) in (int, str) for i in given):
        raise UnsupportedConfig(f"{name} is {given!r:.100}; it must be a list of ids, one for each layer.")
    ids = list(islice(cycle(given), depth))
    first = tuple(map(ids.index, ids))
    if kinds and any(kinds[i] != kinds[layer] for layer, i in enumerate(first)):
        raise UnsupportedConfig(f"{name} shares weights between layers of different attn_types; they must be alike.")
    return first


def _section(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(raw.get(name), dict):
        raise UnsupportedConfig(f"config.json has no object {name}, or one of another type: {raw.get(name)!r:.100}.")
    return raw[name]


def _require(section: str, values: Mapping[str, Any], *names: str) -> None:
    if missing := [name for name in names if values.get(name) is None]:
        raise UnsupportedConfig(f"{section} in config.json lacks {', '.join(missing)}.")
    require_integers(section, {name: values[name] for name in names})


def _divided(name: str, value: int, by: int) -> int:
    if value % by:
        raise UnsupportedConfig(f"{name} is {value}, which {by} does not divide.")
    return value // by


def _difference(name: str, value: int, other: str, less: int) -> int:
    if value <= less:
        raise UnsupportedConfig(f"{name} is {value}; it must be above {other}, which is {less}: each pad has an id.")
    return value - less


def _refusal(what: str) -> str:
    reasons = {"sparse": " Its random blocks are not in the file, so that no other program draws the same."}
    reason = next((reason for word, reason in reasons.items() if word in what), "")
    return f"{what} is not implemented.{reason} Of attention there is {', '.join(_DALLE_PYTORCH_ATTENTION)}."
