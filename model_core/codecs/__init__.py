"""Codecs: pictures to image codes and back. Which one a folder holds, its config.json says.

A codec is a module of functions of (config, params, arrays), imported when a folder asks for it: this package imports
no JAX. To add one: its module, its configuration beside it, and a line in `CODECS`.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from model_core.families.conditions import Grid
from model_core.weights.networks import Network, choose

# model_type of config.json → module; its configuration is read by MODULE_config. A Janus's folder holds a VQGAN too.
CODECS = {
    "vqgan": "vqgan",
    "openai_dvae": "openai_dvae",
    "discrete_vae": "discrete_vae",
    "llamagen_vq": "vqgan",
    "janus": "vqgan",
    "multi_modality": "vqgan",
}
DEFAULT = "vqgan"  # published files name no type


@runtime_checkable
class CodecConfig(Protocol):
    """What every codec's configuration says."""

    @property
    def grid(self) -> Grid:
        """The codes of one picture."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of one picture in pixels."""
        ...

    @property
    def round_pixels(self) -> bool:
        """Whether finished pictures are rounded to whole steps of 255; else fractions are dropped."""
        ...


@runtime_checkable
class Codec(Network, Protocol):
    """A module that turns pictures into codes and back."""

    def encode(self, config: Any, params: Any, pixels: Any) -> Any:
        """Turns pixels [B, height, width, 3], in 0…1, into image codes int32 [B, N], row by row of the grid."""
        ...

    def decode(self, config: Any, params: Any, codes: Any) -> Any:
        """Turns image codes [B, N] into pixels float32 [B, height, width, 3], about 0…1 and not clipped."""
        ...


def of_folder(folder: str | os.PathLike) -> Codec:
    """The codec whose files `folder` holds. Raises as `weights.networks.choose` does."""
    return cast(Codec, import_module(f"{__name__}.{choose(folder, CODECS, DEFAULT)}"))


def read_config(folder: str | os.PathLike) -> CodecConfig:
    """The configuration of the codec that `folder` holds, without its network. Raises as `load` does."""
    return import_module(f"{__name__}.{choose(folder, CODECS, DEFAULT)}_config").read_config(Path(folder))


def load(folder: str | os.PathLike, dtype: str = "float32") -> tuple[Codec, Any, Any]:
    """Loads a folder: (codec, config, params). Arguments and errors as in `weights.checkpoint.load`."""
    from model_core.weights import checkpoint  # imports JAX

    codec = of_folder(folder)
    return codec, *checkpoint.load(codec, folder, dtype)
