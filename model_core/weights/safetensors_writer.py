"""Writes safetensors files from arrays that lie in other files, one array at a time.

Format: as in `weight_files`, whose index says where the arrays lie.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from model_core.errors import CorruptCheckpoint, InvalidValue
from model_core.files import replacing
from model_core.weights.weight_files import FLOAT_DTYPES, GET_IT_AGAIN, StoredArray, read_array

Located = tuple[Path, StoredArray]  # an array, and the file that it lies in
_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_ITEMSIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_PIECE = 8 * 2**20
_MAX_GROWTH = 64  # arrays that several names share are written for each: more than this, no model needs


def write_safetensors(path: Path, arrays: Mapping[str, Located], dtype: str | None = None) -> int:
    """Writes arrays of other files under their names; the new file appears when all of it is on disk. Gives its bytes.

    Memory: a buffer of 8 MB; for an array whose axes are swapped or whose numbers are converted, twice the array.

    Args:
      dtype: float32, float16 or bfloat16, for what is float; None keeps what is there. Others are never converted.

    Raises:
      CorruptCheckpoint: a source is cut off, or the new file would have more than 64 times the bytes of all of them.
      InvalidValue: a number is beyond the range of `dtype`.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(arrays):
        stored = arrays[name][1]
        kind = _kind(stored, dtype)
        nbytes = math.prod(stored.shape) * _ITEMSIZES[kind]
        header[name] = {"dtype": kind, "shape": stored.final_shape, "data_offsets": [end, end + nbytes]}
        end += nbytes
    sources = {source for source, _ in arrays.values()}
    if end > _MAX_GROWTH * sum(source.stat().st_size for source in sources):
        raise CorruptCheckpoint(f"{min(sources)}: its arrays would become {end} bytes, far more than the file has.")
    packed = _packed(header)
    with ExitStack() as stack:
        files = {source: stack.enter_context(source.open("rb")) for source in sources}
        target = stack.enter_context(replacing(path))
        target.write(packed)
        for name in sorted(arrays):
            source, stored = arrays[name]
            _copy(files[source], target, name, stored, dtype)
    return len(packed) + end


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes float32 arrays that are in memory; the new file appears when all of it is on disk."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(arrays):
        start, end = end, end + 4 * arrays[name].size
        header[name] = {"dtype": "F32", "shape": arrays[name].shape, "data_offsets": [start, end]}
    packed = _packed(header)
    with replacing(path) as target:
        target.write(packed)
        for name in sorted(arrays):
            target.write(np.ascontiguousarray(arrays[name], np.float32).tobytes())


def _packed(header: dict[str, Any]) -> bytes:
    packed = json.dumps(header, ensure_ascii=True).encode()
    packed += b" " * (-len(packed) % 8)  # arrays begin at multiples of 8 bytes
    return struct.pack("<Q", len(packed)) + packed


def _kind(stored: StoredArray, dtype: str | None) -> str:
    kind = stored.parts[0].dtype
    return _NAMES.get(dtype or kind, kind) if kind in FLOAT_DTYPES else kind


def _copy(file: BinaryIO, target: BinaryIO, name: str, stored: StoredArray, dtype: str | None) -> None:
    kind = stored.parts[0].dtype
    if kind in FLOAT_DTYPES and dtype not in (None, kind):
        try:
            array = read_array(file, stored, FLOAT_DTYPES[dtype or kind])
        except FloatingPointError as err:
            raise InvalidValue(
                f"{name} holds a value beyond the range of {dtype}; use float32 or bfloat16.", "dtype"
            ) from err
        target.write(array.tobytes())
        return
    itemsize = _ITEMSIZES[_NAMES.get(kind, kind)]
    if stored.axes is not None:
        raw = np.frombuffer(b"".join(_pieces(file, stored, itemsize)), f"V{itemsize}").reshape(stored.shape)
        target.write(raw.transpose(stored.axes).tobytes())
        return
    for piece in _pieces(file, stored, itemsize):
        target.write(piece)


def _pieces(file: BinaryIO, stored: StoredArray, itemsize: int) -> Iterator[bytes]:
    """The bytes of an array, in pieces."""
    for part in stored.parts:
        file.seek(part.offset)
        left = part.count * itemsize
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise CorruptCheckpoint(f"{file.name} became shorter while it was read. {GET_IT_AGAIN}")
            left -= len(piece)
            yield piece
