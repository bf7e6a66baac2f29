"""What a network's module offers so that its files can be found, checked and loaded by code that knows no network.

Imports no JAX: the packages `families`, `codecs` and `scorers` import a module when a folder asks for it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from model_core.errors import UnsupportedConfig
from model_core.weights.json_files import read_json
from model_core.weights.weight_files import Index, Shapes, refuse_pickles


@runtime_checkable
class Network(Protocol):
    """A module of functions of (config, params, arrays). This much of it is needed to load `params`.

    Attributes:
      WEIGHTS: the names that its weights file may have, the one to prefer first.
    """

    WEIGHTS: tuple[str, ...]

    def read_config(self, folder: Path) -> Any:
        """Reads the folder's config.json; raises UnsupportedConfig for what is not implemented."""
        ...

    def param_shapes(self, config: Any) -> dict[str, Any]:
        """Names, shapes and dtypes of the parameters, as nested dicts of `jax.ShapeDtypeStruct`."""
        ...

    def layout(self, path: Path, index: Index, shapes: Shapes) -> Index:
        """Turns the names of the file at `path` into those of `shapes`; what it does not know it leaves as it is."""
        ...


def choose(folder: str | os.PathLike, modules: Mapping[str, str], default: str) -> str:
    """Gives the entry of `modules` for the `model_type` of the folder's config.json.

    Args:
      default: the model_type meant by a config.json without one.

    Raises:
      ModelNotFound, CorruptCheckpoint: there is no such folder, or no config.json that can be read.
      UnsupportedConfig: there is no entry for it.
    """
    if not (Path(folder) / "config.json").exists():
        refuse_pickles(Path(folder))
    model_type = read_json(Path(folder), "config.json").get("model_type") or default
    if model_type not in modules:
        raise UnsupportedConfig(
            f"{Path(folder) / 'config.json'}: model_type is {model_type!r}; here only {', '.join(modules)} can be used."
        )
    return modules[model_type]
