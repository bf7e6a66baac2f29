"""Says where the arrays lie inside a weights file, and reads one at a time: a file is never in memory as a whole.

A file is indexed first (names, shapes, places) and read afterwards; nothing is ever unpickled. The index of Flax's own
format is in `flax_msgpack`.

Format: safetensors (huggingface.co/docs/safetensors): 8 bytes of length, a JSON header, the arrays' bytes.
"""

import json
import math
import struct
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import ml_dtypes
import numpy as np

from model_core.errors import CheckpointMismatch, CorruptCheckpoint, NotFinite
from model_core.weights.json_files import read_json

FLOAT_DTYPES = {name: np.dtype(kind) for name, kind in (("float32", "<f4"), ("float16", "<f2"))} | {
    "bfloat16": np.dtype(ml_dtypes.bfloat16)
}
FLAX_WEIGHTS, SAFETENSORS_WEIGHTS = "flax_model.msgpack", "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"  # which of several files holds what
TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")  # of files that hold pickles
_EXPONENTS = {"float32": (np.uint32, 0x7F800000), "float16": (np.uint16, 0x7C00), "bfloat16": (np.uint16, 0x7F80)}
_SAFETENSORS_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_READ_BYTES = 8 * 2**20  # conversion goes through a buffer of this size
_CHECKED = 2**16  # numbers looked at at once: what a processor's cache holds
_ALIGNMENT = 64
_MAX_HEADER_BYTES = 100 * 2**20  # of safetensors, as its own library has it
_MAX_NAMED_KEYS = 20  # in one error message
GET_IT_AGAIN = "Download or copy it again."

Shapes = Mapping[str, tuple[int, ...]]  # of a network's arrays, by their path in its tree, joined with "/"


@dataclass(frozen=True, slots=True)
class Part:
    """A run of `count` elements of one dtype at a place in the file; `dtype` is the file's name for it.

    Attributes:
      file: where several files make up the weights, the one that it lies in.
    """

    offset: int
    count: int
    dtype: str
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in a file: its parts, one after another, in C order.

    Attributes:
      shape: the shape as stored.
      axes: the order of the stored axes that the reader wants (as in `numpy.transpose`), or None for as stored.
    """

    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    axes: tuple[int, ...] | None = None

    @property
    def final_shape(self) -> tuple[int, ...]:
        return self.shape if self.axes is None else tuple(self.shape[axis] for axis in self.axes)

    @property
    def foreign_dtype(self) -> str | None:
        """The first dtype among the parts that is not a float we read, or None."""
        return next((part.dtype for part in self.parts if part.dtype not in FLOAT_DTYPES), None)


Index = Mapping[str, StoredArray]  # the arrays of a file by name


def as_published(path: Path, index: Index, shapes: Shapes) -> Index:
    """The layout of files whose names are those of the network's tree, as of those that Flax wrote."""
    return index


def check_index(path: Path, index: Index, shapes: Shapes) -> None:
    """Compares what a file holds with the arrays of a network.

    Raises:
      CheckpointMismatch: they differ; names every array that is missing, unexpected, misshapen or not float.
    """
    missing = [f"missing {name} {shape}" for name, shape in shapes.items() if name not in index]
    unexpected = [f"unexpected {name} {stored.final_shape}" for name, stored in index.items() if name not in shapes]
    shared = [(name, index[name], shape) for name, shape in shapes.items() if name in index]
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


def torch_files_in(folder: Path) -> list[Path]:
    """The files of a folder that have one of PyTorch's names, which hold pickles."""
    return sorted(path for path in folder.iterdir() if path.suffix in TORCH_SUFFIXES and path.is_file())


def refuse_pickles(folder: Path) -> None:
    """Raises CorruptCheckpoint, with what to do, where a folder without anything that is read holds PyTorch's files."""
    if folder.is_dir() and (paths := torch_files_in(folder)):
        names = ", ".join(path.name for path in paths)
        raise CorruptCheckpoint(
            f"{folder} holds PyTorch's files alone ({names:.200}), pickles, which are never read here. Make a model's "
            f"folder of them with: dalle-serve convert {folder} NEW_FOLDER"
        )


def index_safetensors(path: Path) -> dict[str, StoredArray]:
    """Lists the arrays of a safetensors file by name.

    Raises:
      CorruptCheckpoint: the file is cut off, has something after its end, or is not safetensors.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        refuse_other_formats(path, file)
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
            raise CorruptCheckpoint(f"{path} is not a safetensors file, or is cut off in its header. {GET_IT_AGAIN}")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            index = {name: _safetensors_array(entry, 8 + length) for name, entry in header.items()}
            ends = [8 + length + entry["data_offsets"][1] for entry in header.values()]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as err:
            raise CorruptCheckpoint(f"{path} has no valid safetensors header. {GET_IT_AGAIN}") from err
    if max(ends, default=-1) != size:
        raise CorruptCheckpoint(f"{path} has {size} bytes, its header says {max(ends, default=0)}. {GET_IT_AGAIN}")
    return index


def index_shards(path: Path) -> dict[str, StoredArray]:
    """Lists the arrays of several safetensors files, of which the index at `path` says which holds what.

    Raises:
      CorruptCheckpoint: a file is missing or not in its format, or the index and the files do not agree.
    """
    named = read_json(path.parent, path.name).get("weight_map")
    if not isinstance(named, dict) or not all(_is_name(name) for name in named.values()) or not named:
        raise CorruptCheckpoint(f"{path}: weight_map must be an object of names of files beside it. {GET_IT_AGAIN}")
    index: dict[str, StoredArray] = {}
    for name in dict.fromkeys(named.values()):
        shard = path.with_name(name)
        if not shard.is_file():
            raise CorruptCheckpoint(f"{path} names {name}, which is not there. {GET_IT_AGAIN}")
        found = index_safetensors(shard)
        expected = {array for array, file in named.items() if file == name}
        if found.keys() != expected:
            wrong = ", ".join(sorted(found.keys() ^ expected)[:_MAX_NAMED_KEYS])
            raise CorruptCheckpoint(f"{path} and {name} do not agree about {wrong}. {GET_IT_AGAIN}")
        for array, stored in found.items():
            index[array] = replace(stored, parts=tuple(replace(part, file=shard) for part in stored.parts))
    return index


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name == Path(name).name and name not in ("", "..")


def read_array(file: BinaryIO, stored: StoredArray, dtype: np.dtype) -> np.ndarray:
    """Reads one array, converted to `dtype` on the way through a small buffer.

    The result begins at a multiple of 64 bytes, which lets JAX on a CPU take it over without a copy.

    Raises:
      CorruptCheckpoint: the file ends before the array does.
      NotFinite: a value is NaN or infinite.
      FloatingPointError: a value is beyond the range of `dtype`.
    """
    flat = _empty_aligned(math.prod(stored.shape), dtype)
    start = 0
    for part in stored.parts:
        with part.file.open("rb") if part.file else nullcontext(file) as source:
            source.seek(part.offset)
            _read_part(source, part, flat[start : start + part.count])
        start += part.count
    array = flat.reshape(stored.shape)
    return array if stored.axes is None else np.ascontiguousarray(array.transpose(stored.axes))


def refuse_other_formats(path: Path, file: BinaryIO) -> None:
    """Names what a file is when its first bytes give it away; leaves the file at its start."""
    start = file.read(64)
    file.seek(0)
    if not start:
        raise CorruptCheckpoint(f"{path} is empty. {GET_IT_AGAIN}")
    if start.startswith(b"version https://git-lfs"):
        raise CorruptCheckpoint(f"{path} is a Git LFS pointer, not the weights. Run `git lfs pull` in its repository.")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CorruptCheckpoint(f"{path} is a web page, not weights: a download went wrong. {GET_IT_AGAIN}")
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise CorruptCheckpoint(
            f"{path} is a zip or pickle file (PyTorch?); pickles are not read. Use flax_model.msgpack or safetensors, "
            "or convert published PyTorch files: dalle-serve convert FILE NEW_FOLDER"
        )


def _empty_aligned(count: int, dtype: np.dtype) -> np.ndarray:
    memory = np.empty(count * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + count * dtype.itemsize].view(dtype)


def _read_part(file: BinaryIO, part: Part, target: np.ndarray) -> None:
    source_dtype = FLOAT_DTYPES[part.dtype]
    most = _READ_BYTES // source_dtype.itemsize
    buffer = None if source_dtype == target.dtype else np.empty(min(most, part.count), source_dtype)
    for start in range(0, part.count, most):
        place = target[start : start + most]
        piece = place if buffer is None else buffer[: place.size]
        _fill(file, piece)
        _check_finite(piece)
        if buffer is not None:
            with np.errstate(over="raise"):
                place[:] = piece.astype(target.dtype)


def _check_finite(piece: np.ndarray) -> None:
    """Looks at the exponents alone, which are all ones in NaN and infinity: several times faster for 16 bits."""
    integer, exponent = _EXPONENTS[piece.dtype.name]
    bits = piece.view(integer)
    for start in range(0, bits.size, _CHECKED):
        if (bits[start : start + _CHECKED] & integer(exponent)).max() == exponent:
            raise NotFinite("A value is NaN or infinite.")


def _fill(file: BinaryIO, target: np.ndarray) -> None:
    if file.readinto(target.view(np.uint8)) != target.nbytes:  # pyright: ignore[reportAttributeAccessIssue]
        raise CorruptCheckpoint(f"{file.name} became shorter while it was read. {GET_IT_AGAIN}")


def _safetensors_array(entry: dict, data_start: int) -> StoredArray:
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    dtype = _SAFETENSORS_DTYPES.get(entry["dtype"], str(entry["dtype"]))
    count = math.prod(shape)
    if not all(isinstance(n, int) and n >= 0 for n in (begin, end, *shape)):
        raise ValueError("negative or non-integer place or shape")
    if dtype in FLOAT_DTYPES and end - begin != count * FLOAT_DTYPES[dtype].itemsize:
        raise ValueError("an array's bytes do not fit its shape")
    return StoredArray(shape=shape, parts=(Part(data_start + begin, count, dtype),))
