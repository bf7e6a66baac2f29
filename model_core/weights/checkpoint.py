"""Files on disk → (config, params): strict, streaming, never unpickling.

One array at a time goes from the file through a small buffer to the device, in the dtype asked for; the whole file is
never in memory.

Provenance: config.json, flax_model.msgpack and model.safetensors as the public repositories hold them.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
from flax import traverse_util

from model_core.errors import CorruptCheckpoint, InvalidValue, NotFinite
from model_core.files import replacing
from model_core.weights.flax_msgpack import index_msgpack, write_msgpack
from model_core.weights.networks import Network
from model_core.weights.weight_files import (
    FLOAT_DTYPES,
    GET_IT_AGAIN,
    Index,
    Shapes,
    StoredArray,
    as_published,
    check_index,
    index_safetensors,
    index_shards,
    read_array,
    refuse_pickles,
)

Params = dict[str, Any]
Place = Callable[[str, np.ndarray], Any]  # an array's name and content → what the tree holds of it, on its devices
Layout = Callable[[Path, Index, Shapes], Index]
_INDEXERS = {".safetensors": index_safetensors, ".json": index_shards}


def load(
    network: Network,
    folder: str | os.PathLike,
    dtype: str = "float32",
    *,
    place: Place | None = None,
    is_wanted: Callable[[str], bool] | None = None,
) -> tuple[Any, Params]:
    """Loads a folder of one network: (config, params).

    Args:
      folder: holds config.json, and a weights file by one of the names that the network knows.
      dtype: float32, float16 or bfloat16: what params are held and computed in.
      place, is_wanted: as in `load_params`.

    Raises:
      ModelNotFound: there is no such folder.
      CorruptCheckpoint: a file is missing, cut off, not in its format, or holds a weight that is NaN or infinite.
      CheckpointMismatch: the tree is not this network's; names every missing, unexpected and misshapen key.
      UnsupportedConfig: config.json asks for something not implemented.
      InvalidValue: no such dtype, or a weight is beyond its range.
    """
    folder = Path(folder)
    config = network.read_config(folder)
    path, shapes = _weights_path(folder, network.WEIGHTS), network.param_shapes(config)
    return config, load_params(path, shapes, dtype, layout=network.layout, place=place, is_wanted=is_wanted)


def load_params(
    path: str | os.PathLike,
    shapes: Mapping[str, Any],
    dtype: str = "float32",
    *,
    layout: Layout = as_published,
    place: Place | None = None,
    is_wanted: Callable[[str], bool] | None = None,
) -> Params:
    """Reads a weights file into a tree of device arrays of one dtype.

    Host memory: on a CPU the params and a buffer of 8 MB, on an accelerator the largest array; PyTorch's transposed
    kernels take one array more.

    Args:
      path: `.safetensors`, `.json` for the index of several such files, or else Flax msgpack.
      shapes: nested mapping of `jax.ShapeDtypeStruct`, as a network's `param_shapes` gives it.
      dtype: float32, float16 or bfloat16.
      layout: turns the file's names into those of `shapes`.
      place: puts each array on its devices, as `sharding.placer` does; None is JAX's default device.
      is_wanted: says by its name whether an array is read; others must be there, but are not. None: all are.

    Raises:
      CorruptCheckpoint, CheckpointMismatch, InvalidValue: as in `load`.
    """
    path, target = Path(path), float_dtype(dtype)
    named: dict[str, Any] = dict(traverse_util.flatten_dict(dict(shapes), sep="/"))
    expected = {name: leaf.shape for name, leaf in named.items()}
    index = _checked_index(path, expected, layout)
    with path.open("rb") as file:
        place = place or (lambda name, array: jax.device_put(array))
        wanted = filter(is_wanted, expected) if is_wanted else expected
        leaves = {name: _load_leaf(file, name, index[name], target, place) for name in wanted}
    return traverse_util.unflatten_dict(leaves, sep="/")


def check(network: Network, folder: Path) -> None:
    """Compares a folder's files with its network as `load` does, without reading the arrays; raises as `load`."""
    config = network.read_config(folder)
    path = _weights_path(folder, network.WEIGHTS)
    named: dict[str, Any] = dict(traverse_util.flatten_dict(dict(network.param_shapes(config)), sep="/"))
    _checked_index(path, {name: leaf.shape for name, leaf in named.items()}, network.layout)


def save_params(path: str | os.PathLike, params: Mapping[str, Any], dtype: str = "float32") -> None:
    """Writes params as the public repositories hold them (Flax msgpack), replacing `path` only when all is on disk.

    Raises:
      InvalidValue: no such dtype, or a weight is beyond its range.
    """
    path, target = Path(path), float_dtype(dtype)
    try:
        with replacing(path) as file:
            write_msgpack(file, params, target)
    except FloatingPointError as err:
        raise InvalidValue(_beyond_range(path.name, target), "dtype") from err


def float_dtype(name: str) -> np.dtype:
    """Gives the numpy dtype of float32, float16 or bfloat16; InvalidValue for any other name."""
    if name not in FLOAT_DTYPES:
        raise InvalidValue(f"dtype must be one of {', '.join(FLOAT_DTYPES)}; got {name!r}.", "dtype")
    return FLOAT_DTYPES[name]


def _weights_path(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    refuse_pickles(folder)
    found = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
    raise CorruptCheckpoint(f"{folder} holds no {' or '.join(names)} (found: {found}). Other formats are not read.")


def _checked_index(path: Path, expected: Shapes, layout: Layout) -> Index:
    index = layout(path, _INDEXERS.get(path.suffix, index_msgpack)(path), expected)
    check_index(path, index, expected)
    return index


def _load_leaf(file: BinaryIO, name: str, stored: StoredArray, dtype: np.dtype, place: Place) -> Any:
    try:
        array = read_array(file, stored, dtype)
    except FloatingPointError as err:
        raise InvalidValue(_beyond_range(name, dtype), "dtype") from err
    except NotFinite as err:
        raise CorruptCheckpoint(
            f"{file.name} holds a value in {name} that is NaN or infinite, with which nothing can be drawn: the "
            f"training of these weights went wrong, or the file is damaged. {GET_IT_AGAIN}"
        ) from err
    # Waiting keeps at most one host copy alive. Where the device array shares the memory, it is the only owner left.
    return jax.block_until_ready(place(name, array))


def _beyond_range(name: str, dtype: np.dtype) -> str:
    return f"{name} holds a value beyond the range of {dtype.name}; use float32 or bfloat16."
