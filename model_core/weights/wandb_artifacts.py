"""Models kept as Weights & Biases artifacts, `entity/project/name:version`: fetched when asked for, then on disk.

Needs the package `wandb`, which is not installed by default. Files that a broken download left whole are not fetched
again; all are checked against the artifact's digests before they are used. Knows nothing of what is in them.
"""

import importlib
import os
import re
from pathlib import Path

from model_core.cache import cache_folder
from model_core.errors import ModelNotFound

_REFERENCE = re.compile(r"(\w[\w.-]*)/(\w[\w.-]*)/(\w[\w.-]*):(\w[\w.-]*)", re.ASCII)


def is_reference(name: str | os.PathLike) -> bool:
    """True for `entity/project/name:version`."""
    return isinstance(name, str) and _REFERENCE.fullmatch(name) is not None


def locate(reference: str, *, download: bool) -> Path:
    """The artifact's folder in the user's cache.

    Args:
      download: whether it may be fetched where it is not there.

    Raises:
      ModelNotFound: it is not there; or it cannot be had, and why.
    """
    match = _REFERENCE.fullmatch(reference)
    assert match is not None
    folder = (cache_folder() / "wandb").joinpath(*match.groups())
    if not folder.is_dir():
        if not download:
            raise ModelNotFound(
                f"{reference} has not been downloaded. Download it with: dalle-serve models download {reference}"
            )
        _fetch(reference, folder)
    return folder


def _fetch(reference: str, folder: Path) -> None:
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        raise ModelNotFound(
            f"{reference} is a Weights & Biases artifact: pip install wandb, and then download it again."
        ) from error
    part = folder.with_name(f"{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    try:
        artifact = wandb.Api().artifact(reference)
        artifact.download(root=str(part))  # what is there, and whole, stays
        artifact.verify(root=str(part))
        part.rename(folder)
    except (wandb.errors.Error, OSError, ValueError) as error:  # a wrong digest is a ValueError
        raise ModelNotFound(f"{reference} could not be downloaded from Weights & Biases: {error}") from error
