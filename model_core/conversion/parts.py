"""What a converter finds in published files: parts of a model, to be written as folders of safetensors."""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from model_core.errors import CorruptCheckpoint
from model_core.files import write_atomically
from model_core.weights.safetensors_writer import Located, write_safetensors
from model_core.weights.torch_files import TorchFile
from model_core.weights.weight_files import SAFETENSORS_WEIGHTS, Index

_MAX_YAML_BYTES = 2**20
_MAX_VALUES = 10_000  # in one configuration; a pickle can name the same list in many places
_MAX_TEXT = 10_000


@dataclass(frozen=True)
class Part:
    """A part of a model, before it is written.

    Attributes:
      config: the content of its config.json.
      files: what is copied beside it: new name, which may have a folder in it → file.
    """

    config: dict[str, Any]
    arrays: Mapping[str, Located]
    files: Mapping[str, Path] = field(default_factory=dict)

    def write(self, folder: Path, dtype: str | None) -> int:
        """Writes config.json, model.safetensors and the files; gives the bytes of the weights."""
        folder.mkdir(parents=True)
        write_atomically(folder / "config.json", json.dumps(self.config, indent=1, ensure_ascii=False).encode())
        for name, file in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, folder / name)
        return write_safetensors(folder / SAFETENSORS_WEIGHTS, self.arrays, dtype)


@dataclass(frozen=True)
class Model:
    """All that was found.

    Attributes:
      parts: by role.
    """

    parts: dict[str, Part]
    licence: str = "unknown"
    description: str = ""


def located(file: TorchFile, arrays: Index, prefix: str = "") -> dict[str, Located]:
    """The arrays of a file whose names begin with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): (file.path, array) for name, array in arrays.items() if name.startswith(prefix)}


def plain(value: Any, place: str) -> Any:
    """What JSON can hold of a value that a pickle gave, tuples as lists.

    Raises:
      CorruptCheckpoint: it is, or holds, something else, or more than a configuration does.
    """
    left = _MAX_VALUES

    def copy(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > 20:
            raise CorruptCheckpoint(f"{place} holds more than any configuration does.")
        if isinstance(value, dict):
            return {str(key)[:_MAX_TEXT]: copy(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [copy(each, depth + 1) for each in value]
        is_number = isinstance(value, int | float) and abs(value) < 1e300
        if value is None or is_number or (isinstance(value, str) and len(value) <= _MAX_TEXT):
            return value
        raise CorruptCheckpoint(f"{place} holds a {type(value).__name__}, which is no setting.")

    return copy(value, 0)


def read_yaml(path: Path) -> Any:
    """Reads a YAML file as plain data; CorruptCheckpoint where it is none."""
    try:
        if path.stat().st_size > _MAX_YAML_BYTES:
            raise CorruptCheckpoint(f"{path} has more than {_MAX_YAML_BYTES} bytes, too many for a configuration.")
        return plain(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        raise CorruptCheckpoint(f"{path} is not YAML ({err!s:.200}).") from err


def only_one(what: str, found: Iterable[Path], place: str) -> Path:
    """The one file that fits; CorruptCheckpoint where there is none, or more than one."""
    paths = sorted(set(found))
    if len(paths) != 1:
        there = ", ".join(path.name for path in paths) or "nothing that fits"
        raise CorruptCheckpoint(f"{what} must lie beside {place}, one and no other; found: {there:.300}.")
    return paths[0]
