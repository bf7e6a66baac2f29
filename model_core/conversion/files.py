"""Which published files lie in a folder, and what each is: told by what is in them, not by their names."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_core.conversion.parts import read_yaml
from model_core.errors import CorruptCheckpoint, ModelNotFound
from model_core.weights.pickle_values import Made
from model_core.weights.torch_files import TorchFile
from model_core.weights.weight_files import StoredArray, torch_files_in

SAMPLERS = ("DALLE-pytorch", "ruDALL-E", "minDALL-E", "LlamaGen")
KINDS = (*SAMPLERS, "LlamaGen's VQ", "VQGAN", "DiscreteVAE", "CLIP", "dVAE encoder", "dVAE decoder")
_LARGEST_TEXT = 16 * 2**20  # of a tokenizer's file


@dataclass(frozen=True)
class Found:
    """A file, and what it is, one of `KINDS`."""

    kind: str
    file: TorchFile


class Shelf:
    """The published files that a model is made of.

    Attributes:
      files: those with weights.
      main: the file that was asked for, or the only sampler of the folder that was; None where it has none.
      folders: where tokenizers and configurations are looked for.
    """

    def __init__(self, source: Path, also: list[Path]):
        """Looks at a file or folder and at `also`.

        Raises:
          ModelNotFound: there is no such file or folder.
          CorruptCheckpoint: a file with weights is no checkpoint, or none of them is one that can be converted.
        """
        given = [source, *also]
        for path in given:
            if not path.exists():
                raise ModelNotFound(f"There is no file or folder {path}.")
        self.folders = list(dict.fromkeys(path if path.is_dir() else path.parent for path in given))
        paths = [path for path in given if path.is_file()]
        paths += [path for folder in self.folders for path in torch_files_in(folder)]
        self.files = [found for path in dict.fromkeys(paths) if (found := _look(path)) is not None]
        samplers = [found for found in self.files if found.kind in SAMPLERS]
        if source.is_file():
            self.main = next((found for found in self.files if found.file.path == source), None)
        elif len(samplers) > 1:
            names = ", ".join(found.file.path.name for found in samplers)
            raise CorruptCheckpoint(f"{source} holds more than one sampler: {names:.300}. Name the file to convert.")
        else:
            self.main = samplers[0] if samplers else None
        if not self.files or (source.is_file() and self.main is None):
            raise CorruptCheckpoint(
                f"{source} is none of the published files that can be converted: {', '.join(KINDS)}."
            )

    def all_of(self, kind: str) -> list[TorchFile]:
        return [found.file for found in self.files if found.kind == kind]

    def at_most_one(self, kind: str) -> TorchFile | None:
        """The file of this kind, or None; CorruptCheckpoint where there are several."""
        files = self.all_of(kind)
        if len(files) > 1:
            names = ", ".join(str(file.path) for file in files)
            raise CorruptCheckpoint(
                f"There is more than one {kind}: {names:.300}. Leave one, or name the file to convert."
            )
        return files[0] if files else None

    def named(self, *patterns: str) -> list[Path]:
        """The files whose names fit."""
        return [path for folder in self.folders for pattern in patterns for path in sorted(folder.glob(pattern))]

    def yaml_with(self, *keys: str) -> dict[Path, dict[str, Any]]:
        """The YAML files that hold a value under these keys, one in the other."""
        found = {}
        for path in self.named("*.yml", "*.yaml"):
            value = content = read_yaml(path)
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                found[path] = content
        return found


def read_text_json(path: Path) -> Any:
    """A JSON file's content, or None where it is none or too large."""
    try:
        return json.loads(path.read_bytes()) if path.stat().st_size <= _LARGEST_TEXT else None
    except (ValueError, RecursionError):
        return None


def _look(path: Path) -> Found | None:
    file = TorchFile(path)
    kind = _kind_of_module(file) if isinstance(file.content, Made) else _kind_of_dict(file.content)
    return Found(kind, file) if kind else None


def _kind_of_module(file: TorchFile) -> str | None:
    names = {"dall_e.encoder.Encoder": "dVAE encoder", "dall_e.decoder.Decoder": "dVAE decoder"}
    return names.get(file.content.name)


def _kind_of_dict(content: Any) -> str | None:
    if not isinstance(content, dict):
        return None
    weights, state, model = content.get("weights"), content.get("state_dict"), content.get("model")
    if "hparams" in content and isinstance(weights, dict | str):
        return _of_dalle_pytorch(weights)
    if isinstance(state, dict):
        return "minDALL-E" if "head_img.weight" in state else "VQGAN" if _is_vqgan(state) else None
    if isinstance(model, dict):
        return "LlamaGen" if "tok_embeddings.weight" in model else "LlamaGen's VQ" if _is_vqgan(model) else None
    if "image_row_embeddings.weight" in content:
        return "ruDALL-E"
    if isinstance(first := content.get("blocks.input.w"), StoredArray):
        return "dVAE encoder" if first.shape[1:2] == (3,) else "dVAE decoder"
    return "VQGAN" if _is_vqgan(content) else None


def _of_dalle_pytorch(weights: Any) -> str | None:
    if isinstance(weights, str) or any("to_logits" in str(name) for name in weights):
        return "DALLE-pytorch"
    return "CLIP" if "to_text_latent.weight" in weights else "DiscreteVAE" if "codebook.weight" in weights else None


def _is_vqgan(state: dict[Any, Any]) -> bool:
    return any(str(name).removeprefix("model.").startswith("quantize.embed") for name in state)
