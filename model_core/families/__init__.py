"""Families of networks that draw a picture as a row of image codes. Which one a folder holds, its config.json says.

A family is a folder whose module of the same name is functions of (config, params, arrays), imported when a model's
folder asks for it: this package imports no JAX. To add one: its folder and a line in `FAMILIES`.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from model_core.weights.networks import choose

FAMILIES = {"dallebart": "dalle_bart"}  # model_type of config.json → folder
DEFAULT = "dallebart"

Half = Literal["encoder", "decoder"]


def of_folder(folder: str | os.PathLike) -> Any:
    """The family whose files `folder` holds. Raises as `weights.networks.choose` does."""
    name = choose(folder, FAMILIES, DEFAULT)
    return import_module(f"{__name__}.{name}.{name}")


def read_config(folder: str | os.PathLike) -> Any:
    """The configuration of the model that `folder` holds, without its network. Raises as `load` does."""
    return import_module(f"{__name__}.{choose(folder, FAMILIES, DEFAULT)}.config").read_config(Path(folder))


def load(
    folder: str | os.PathLike, dtype: str = "float32", *, half: Half | None = None, place: Any = None
) -> tuple[Any, Any, Any]:
    """Loads a folder: (family, config, params).

    Args:
      half: what encodes a text ("encoder") or what draws codes ("decoder"), alone. The whole file is checked all the
        same.
      place: puts each array on its devices, as in `weights.checkpoint.load`.

    Raises:
      As `weights.checkpoint.load` does.
    """
    from model_core.weights import checkpoint  # imports JAX

    family = of_folder(folder)
    is_wanted = None if half is None else lambda name: family.half_of(name) == half
    return family, *checkpoint.load(family, folder, dtype, place=place, is_wanted=is_wanted)
