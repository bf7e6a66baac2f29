"""Files on disk → (config, params): strict, streaming, never unpickling.

One array at a time goes from the file through a small buffer to the device, in the dtype asked for; the whole file is
never in memory. Knows nothing of what the models compute, only their configs and trees of shapes.

Provenance: config.json, flax_model.msgpack and model.safetensors as the public repositories hold them.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import jax
import numpy as np
from flax import traverse_util

from model_core.codecs import vqgan
from model_core.errors import CheckpointMismatch, CorruptCheckpoint, InvalidValue
from model_core.families.dalle_bart import dalle_bart
from model_core.scorers import clip
from model_core.weights import convert
from model_core.weights.flax_msgpack import index_msgpack, write_msgpack
from model_core.weights.json_files import read_json
from model_core.weights.weight_files import FLOAT_DTYPES, StoredArray, index_safetensors, read_array

Params = dict[str, Any]
Place = Callable[[str, np.ndarray], Any]  # an array's name and content → what the tree holds of it, on its devices
Part = Literal["encoder", "decoder"]

FLAX_WEIGHTS = "flax_model.msgpack"
SAFETENSORS_WEIGHTS = "model.safetensors"
_MAX_NAMED_KEYS = 20  # in one error message


def load_dalle_bart(
    folder: str | os.PathLike, dtype: str = "float32", *, part: Part | None = None, place: Place | None = None
) -> tuple[dalle_bart.DalleBartConfig, Params]:
    """Loads a DalleBart folder; layers come out stacked, however the file holds them.

    Args:
      folder: holds config.json and flax_model.msgpack.
      dtype: float32, float16 or bfloat16: what params are held and computed in.
      part: "encoder", or "decoder" with the head: that half alone. The whole file is checked all the same.
      place: as in `load_params`.

    Raises:
      ModelNotFound: there is no such folder.
      CorruptCheckpoint: a file is missing, cut off, or not in its format.
      CheckpointMismatch: the tree is not this model's; names every missing, unexpected and misshapen key.
      UnsupportedConfig: config.json asks for something not implemented.
      InvalidValue: no such dtype, or a weight is beyond its range.
    """
    config = read_dalle_bart_config(folder)
    path = _weights_path(Path(folder), FLAX_WEIGHTS)
    shapes = dalle_bart.param_shapes(config)
    return config, load_params(path, shapes, dtype, place=place, is_wanted=lambda name: part in (None, _part_of(name)))


def load_vqgan(folder: str | os.PathLike, dtype: str = "float32") -> tuple[vqgan.VQGANConfig, Params]:
    """Loads a VQGAN folder: config.json and flax_model.msgpack. Arguments and errors as in `load_dalle_bart`."""
    config = read_vqgan_config(folder)
    return config, load_params(_weights_path(Path(folder), FLAX_WEIGHTS), vqgan.param_shapes(config), dtype)


def load_clip(folder: str | os.PathLike, dtype: str = "float32") -> tuple[clip.CLIPConfig, Params]:
    """Loads a CLIP folder: config.json, preprocessor_config.json, flax_model.msgpack or PyTorch's model.safetensors.

    Where both weights files are there, the Flax one is read. Arguments and errors as in `load_dalle_bart`.
    """
    config = read_clip_config(folder)
    path = _weights_path(Path(folder), FLAX_WEIGHTS, SAFETENSORS_WEIGHTS)
    return config, load_params(path, clip.param_shapes(config), dtype)


def read_dalle_bart_config(folder: str | os.PathLike) -> dalle_bart.DalleBartConfig:
    """The sizes that config.json of a DalleBart folder gives. Errors as in `load_dalle_bart`."""
    return dalle_bart.DalleBartConfig.from_dict(read_json(Path(folder), "config.json"))


def read_vqgan_config(folder: str | os.PathLike) -> vqgan.VQGANConfig:
    """The sizes that config.json of a VQGAN folder gives. Errors as in `load_dalle_bart`."""
    return vqgan.VQGANConfig.from_dict(read_json(Path(folder), "config.json"))


def read_clip_config(folder: str | os.PathLike) -> clip.CLIPConfig:
    """The sizes that config.json and preprocessor_config.json of a CLIP folder give. Errors as in `load_dalle_bart`."""
    folder = Path(folder)
    raw, preprocessor = read_json(folder, "config.json"), folder / "preprocessor_config.json"
    return clip.CLIPConfig.from_dict(raw, read_json(folder, preprocessor.name) if preprocessor.exists() else None)


def load_params(
    path: str | os.PathLike,
    expected_shapes: Mapping[str, Any],
    dtype: str = "float32",
    *,
    place: Place | None = None,
    is_wanted: Callable[[str], bool] = lambda name: True,
) -> Params:
    """Reads a weights file into a tree of device arrays of one dtype.

    A `.safetensors` file is taken for a PyTorch CLIP, anything else for Flax msgpack. Host memory: on a CPU the params
    and a buffer of 8 MB, on an accelerator the largest array; PyTorch's transposed kernels take one array more.

    Args:
      expected_shapes: nested mapping of `jax.ShapeDtypeStruct`, as a model's `param_shapes` gives it.
      dtype: float32, float16 or bfloat16.
      place: puts each array on its devices, as `sharding.placer` does; None is JAX's default device.
      is_wanted: says by its name whether an array is read; others must be there, but are not.

    Raises:
      CorruptCheckpoint, CheckpointMismatch, InvalidValue: as in `load_dalle_bart`.
    """
    path, target = Path(path), float_dtype(dtype)
    expected = _flat_shapes(expected_shapes)
    if path.suffix == ".safetensors":
        index = convert.clip_from_torch(index_safetensors(path))
    else:
        index = index_msgpack(path)
    if convert.is_unrolled(index):
        _compare(path, index, convert.unroll_shapes(expected))
        index = convert.stack_layers(index)
    else:
        _compare(path, index, expected)
    with path.open("rb") as file:
        wanted = filter(is_wanted, expected)
        leaves = {name: _load_leaf(file, name, index[name], target, place or _put) for name in wanted}
    return traverse_util.unflatten_dict(leaves, sep="/")


def save_params(path: str | os.PathLike, params: Mapping[str, Any], dtype: str = "float32") -> None:
    """Writes params as the public repositories hold them (Flax msgpack), replacing `path` only when all is on disk.

    Raises:
      InvalidValue: no such dtype, or a weight is beyond its range.
    """
    path, target = Path(path), float_dtype(dtype)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            write_msgpack(file, params, target)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except FloatingPointError as err:
        raise InvalidValue(_beyond_range(path.name, target), "dtype") from err
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_folder(path.parent)


def float_dtype(name: str) -> np.dtype:
    """Gives the numpy dtype of float32, float16 or bfloat16; InvalidValue for any other name."""
    if name not in FLOAT_DTYPES:
        raise InvalidValue(f"dtype must be one of {', '.join(FLOAT_DTYPES)}; got {name!r}.", "dtype")
    return FLOAT_DTYPES[name]


def _weights_path(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
    raise CorruptCheckpoint(
        f"{folder} holds no {' or '.join(names)} (found: {found}). Weights in other formats, pickles above all, are "
        "not read; take the repository's Flax weights."
    )


def _flat_shapes(shapes: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[int, ...]]:
    flat = {}
    for key, value in shapes.items():
        flat |= _flat_shapes(value, f"{prefix}{key}/") if isinstance(value, Mapping) else {prefix + key: value.shape}
    return flat


def _part_of(name: str) -> Part:
    return "encoder" if name.startswith("model/encoder/") else "decoder"


def _put(name: str, array: np.ndarray) -> jax.Array:
    return jax.device_put(array)


def _load_leaf(file: BinaryIO, name: str, stored: StoredArray, dtype: np.dtype, place: Place) -> Any:
    try:
        array = read_array(file, stored, dtype)
    except FloatingPointError as err:
        raise InvalidValue(_beyond_range(name, dtype), "dtype") from err
    # Waiting keeps at most one host copy alive. Where the device array shares the memory, it is the only owner left.
    return jax.block_until_ready(place(name, array))


def _beyond_range(name: str, dtype: np.dtype) -> str:
    return f"{name} holds a value beyond the range of {dtype.name}; use float32 or bfloat16."


def _compare(path: Path, index: Mapping[str, StoredArray], expected: Mapping[str, tuple[int, ...]]) -> None:
    missing = [f"missing {name} {shape}" for name, shape in expected.items() if name not in index]
    unexpected = [f"unexpected {name} {stored.final_shape}" for name, stored in index.items() if name not in expected]
    shared = [(name, index[name], shape) for name, shape in expected.items() if name in index]
    misshapen = [
        f"misshapen {name}: {stored.final_shape} in the file, {shape} in the model"
        for name, stored, shape in shared
        if stored.final_shape != shape
    ]
    foreign = [
        f"not float {name}: {stored.foreign_dtype} in the file, one of {', '.join(FLOAT_DTYPES)} is allowed"
        for name, stored, _ in shared
        if stored.foreign_dtype
    ]
    problems = missing + unexpected + misshapen + foreign
    if problems:
        raise CheckpointMismatch(
            f"{path} does not fit its config.json: {len(missing)} missing, {len(unexpected)} unexpected, "
            f"{len(misshapen)} misshapen, {len(foreign)} not float.\n  "
            + "\n  ".join(problems[:_MAX_NAMED_KEYS])
            + (f"\n  … and {len(problems) - _MAX_NAMED_KEYS} more" if len(problems) > _MAX_NAMED_KEYS else "")
        )


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
