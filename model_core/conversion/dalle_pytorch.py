"""DALLE-pytorch: dalle.pt, with its VQGAN or OpenAI's dVAE, its CLIP and its tokenizer beside it."""

from pathlib import Path
from typing import Any

from model_core.conversion import codec_parts
from model_core.conversion.files import Shelf, read_text_json
from model_core.conversion.parts import Model, Part, located, only_one, plain
from model_core.errors import CorruptCheckpoint, UnsupportedConfig
from model_core.weights.torch_files import TorchFile

_NOT_TOKENIZERS = ("config.json", "model.json")


def convert(shelf: Shelf, file: TorchFile) -> Model:
    """Makes a sampler, a codec, and a scorer where there is a CLIP.

    Raises:
      CorruptCheckpoint: a file that it needs is missing, or not what it should be.
      UnsupportedConfig: the weights are elsewhere, in DeepSpeed's folder, or the codec is another one.
    """
    content = file.mapping()
    if not isinstance(content.get("weights"), dict):
        raise UnsupportedConfig(
            f"{file.path} holds no weights, only: {content.get('weights')!r:.200}. DeepSpeed's have to be put together "
            "with its own zero_to_fp32.py first."
        )
    hparams = plain(content.get("hparams"), f"{file.path}, hparams")
    if not isinstance(hparams, dict):
        raise CorruptCheckpoint(f"{file.path}: hparams is no dict.")
    name = content.get("vae_class_name") or ("DiscreteVAE" if content.get("vae_params") else "VQGanVAE")
    codec, codec_fields = _codec(shelf, file, content, name)
    tokenizer, files = find_tokenizer(shelf)
    config = {
        "model_type": "dalle_gpt",
        "layout": "dalle_pytorch",
        "version": plain(content.get("version"), f"{file.path}, version"),
        "hparams": hparams,
        "vae_class_name": name,
        **codec_fields,
        "tokenizer": tokenizer,
    }
    arrays = {
        key: place
        for key, place in located(file, file.arrays("weights")).items()
        if name == "DiscreteVAE" or not key.startswith("vae.")
    }
    parts = {"sampler": Part(config, arrays, files)}
    if codec is not None:
        parts["codec"] = codec
    if (clip := shelf.at_most_one("CLIP")) is not None:
        parts["scorer"] = scorer(clip, tokenizer, files)
    return Model(parts, description="A model of DALLE-pytorch, converted.")


def _codec(shelf: Shelf, file: TorchFile, content: dict[str, Any], name: Any) -> tuple[Part | None, dict[str, Any]]:
    """The codec, and what the sampler's config.json says of it."""
    fields: dict[str, Any] = {"vae_params": None, "vae_config": None}
    if name == "DiscreteVAE":
        params = plain(content.get("vae_params"), f"{file.path}, vae_params")
        if not isinstance(params, dict):
            raise CorruptCheckpoint(f"{file.path}: vae_params is no dict; a DiscreteVAE needs one.")
        codec = codec_parts.discrete_vae(file, params, ("weights",), "vae.")
        return codec, fields | {"vae_params": params, "vae_image_size": params.get("image_size", 256)}
    if name == "OpenAIDiscreteVAE":
        arrays = file.arrays("weights")
        encoder, decoder = ({key.removeprefix(f"vae.{side}."): array for key, array in arrays.items()
                             if key.startswith(f"vae.{side}.")} for side in ("enc", "dec"))  # fmt: skip
        placed = {
            f"{side}.{key}": (file.path, array)
            for side, half in (("encoder", encoder), ("decoder", decoder))
            for key, array in half.items()
        }
        codec = codec_parts.dvae_of_arrays(placed, encoder, decoder)
        return codec, fields | {"vae_image_size": 256}
    if name != "VQGanVAE":
        raise UnsupportedConfig(
            f"{file.path}: vae_class_name is {name!r:.100}; supported: DiscreteVAE, OpenAIDiscreteVAE, VQGanVAE."
        )
    vqgan = shelf.at_most_one("VQGAN")
    if vqgan is None:
        raise CorruptCheckpoint(
            f"{file.path} was trained with a VQGAN, whose checkpoint and configuration (model.yaml) must lie beside it."
        )
    codec = codec_parts.taming(shelf, vqgan)
    config = codec_parts.config_beside(shelf, vqgan.path)
    size = codec.config.get("resolution")
    return codec, fields | {"vae_config": config, "vae_image_size": size}


def scorer(file: TorchFile, tokenizer: dict[str, str], files: dict[str, Path]) -> Part:
    """DALLE-pytorch's own CLIP, which reads text with the tokenizer of its DALL·E."""
    hparams = plain(file.mapping("hparams"), f"{file.path}, hparams")
    config = {"model_type": "dalle_pytorch_clip", "hparams": hparams, "tokenizer": tokenizer}
    return Part(config, located(file, file.arrays("weights")), files)


def find_tokenizer(shelf: Shelf) -> tuple[dict[str, str], dict[str, Path]]:
    """The tokenizer beside a checkpoint: what config.json says of it, and its file.

    Raises:
      CorruptCheckpoint: there is none, or more than one.
    """
    kinds = {path: kind for kind, paths in {
        "hug": [path for path in shelf.named("*.json") if _is_hug(path)],
        "yttm": [path for path in shelf.named("*.model") if _is_yttm(path)],
        "simple": [path for path in shelf.named("*.txt") if "vocab" in path.name],
    }.items() for path in paths}  # fmt: skip
    what = (
        "The model's tokenizer (a JSON of tokenizers, a .model of youtokentome, or bpe_simple_vocab_16e6.txt of CLIP)"
    )
    path = only_one(what, kinds, "its checkpoint")
    return {"kind": kinds[path], "file": path.name}, {path.name: path}


def _is_hug(path: Path) -> bool:
    content = None if path.name in _NOT_TOKENIZERS else read_text_json(path)
    return isinstance(content, dict) and isinstance(content.get("model"), dict) and "vocab" in content["model"]


def _is_yttm(path: Path) -> bool:
    with path.open("rb") as file:
        return len(file.readline(100).split()) == 2
