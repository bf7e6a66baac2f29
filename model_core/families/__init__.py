"""Families of networks that draw a picture as a row of image codes. Which one a folder holds, its config.json says.

A family is a package whose modules `family` (see `protocol.Family`) and `config` are imported when a model's folder
asks for them: this package imports no JAX. To add one: its folder and a line in `FAMILIES`.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from model_core.families.conditions import Role
from model_core.weights.networks import choose

FAMILIES = {  # model_type of config.json → package
    "dallebart": "model_core.families.dalle_bart",
    "dalle_gpt": "model_core.families.dalle_gpt",
}
DEFAULT = "dallebart"


def of_folder(folder: str | os.PathLike) -> Any:
    """The family whose files `folder` holds. Raises as `weights.networks.choose` does."""
    return import_module(f"{choose(folder, FAMILIES, DEFAULT)}.family")


def read_config(folder: str | os.PathLike) -> Any:
    """The configuration of the model that `folder` holds, without its network. Raises as `load` does."""
    return import_module(f"{choose(folder, FAMILIES, DEFAULT)}.config").read_config(Path(folder))


def load(
    folder: str | os.PathLike, dtype: str = "float32", *, role: Role | None = None, place: Any = None
) -> tuple[Any, Any, Any]:
    """Loads a folder: (family, config, params).

    Args:
      role: what reads texts ("text") or what draws codes ("sampler"), alone. The whole file is checked all the same.
      place: puts each array on its devices, as in `weights.checkpoint.load`.

    Raises:
      As `weights.checkpoint.load` does.
    """
    from model_core.weights import checkpoint  # imports JAX

    family = of_folder(folder)
    is_wanted = None if role is None else lambda name: family.role_of(name) == role
    return family, *checkpoint.load(family, folder, dtype, place=place, is_wanted=is_wanted)


def generate(family: Any, config: Any, params: Any, conditions: Any, unconditions: Any, **options: Any) -> Any:
    """Draws one image per condition, int32 [B, N]: see `model_core.sampler.generate.generate`."""
    return import_module("model_core.sampler.generate").generate(
        family, config, params, conditions, unconditions, **options
    )
