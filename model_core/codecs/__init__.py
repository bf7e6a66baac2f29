"""Codecs: pictures to image codes and back. Which one a folder holds, its config.json says.

A codec is a module of functions of (config, params, arrays), imported when a folder asks for it: this package imports
no JAX. To add one: its module, its configuration beside it, and a line in `CODECS`.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from model_core.errors import UnsupportedConfig
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
OF_VECTORS = ("vqgan", "discrete_vae")  # modules that are a `VectorCodec` too


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


@runtime_checkable
class VectorCodec(Codec, Protocol):
    """A codec whose codes stand for vectors, out of which it makes pictures of any size: a gradient can cross it."""

    def codebook(self, config: Any, params: Any) -> Any:
        """The vectors [C, E] that codes stand for."""
        ...

    def encode_grid(self, config: Any, params: Any, pixels: Any) -> Any:
        """Turns pixels [B, height, width, 3], in 0…1, into codes int32 [B, rows, columns].

        Sides are multiples of those of a code, `size` over `grid`.
        """
        ...

    def decode_vectors(self, config: Any, params: Any, vectors: Any) -> Any:
        """Turns vectors [B, rows, columns, E] into pixels float32 as `decode` does codes; differentiable in both."""
        ...


def require_vectors(folder: str | os.PathLike) -> None:
    """Raises UnsupportedConfig where the codec that `folder` holds is no `VectorCodec`; else as `choose` does."""
    name = choose(folder, CODECS, DEFAULT)
    if name not in OF_VECTORS:
        raise UnsupportedConfig(
            f"{Path(folder).name}: pictures of the codec {name} cannot be refined, for its codes stand for no vectors "
            f"that a gradient could move. Those of {' and '.join(OF_VECTORS)} can."
        )


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
