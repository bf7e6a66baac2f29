"""Reads the index of a Flax msgpack file and writes such files, one array at a time.

Reading the arrays themselves is `weight_files.read_array`.

Format (`flax.serialization`): nested maps; an array is an extension of type 1 holding a packed (shape, dtype name,
bytes); arrays above 1 GiB may be split into flat chunks.
"""

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgpack
import numpy as np

from model_core.errors import CorruptCheckpoint
from model_core.weights.weight_files import FLOAT_DTYPES, GET_IT_AGAIN, Part, StoredArray, refuse_other_formats

T = TypeVar("T")
_ARRAY, _SCALAR = 1, 3  # Flax's extension types; a numpy scalar is packed like an array
_CHUNKED = "__msgpack_chunked_array__"
_MAX_DEPTH = 64

# msgpack's first bytes. Some hold a length (an int: its value) themselves: (from, to, what follows).
_SHORT = ((0x00, 0x80, "int"), (0x80, 0x90, "map"), (0x90, 0xA0, "array"), (0xA0, 0xC0, "str"))
# Others are followed by it, in ever wider integers: (first of them, what follows, widths).
_LONG = {
    first + i: (kind, ">" + width)
    for first, kind, widths in (
        (0xC4, "bin", "BHI"),
        (0xC7, "ext", "BHI"),
        (0xCC, "int", "BHIQ"),
        (0xD9, "str", "BHI"),
        (0xDC, "array", "HI"),
        (0xDE, "map", "HI"),
    )
    for i, width in enumerate(widths)
}


def index_msgpack(path: Path) -> dict[str, StoredArray]:
    """Lists the arrays of a Flax msgpack file by their path in the tree, keys joined with "/".

    Raises:
      CorruptCheckpoint: the file is cut off, has something after its end, or is not Flax msgpack.
    """
    with path.open("rb") as file:
        refuse_other_formats(path, file)
        walk = _Walk(path, file)
        kind, count = walk.header()
        if kind != "map":
            raise walk.corrupt("is not a Flax msgpack file: it does not begin with a map")
        index = dict(walk.leaves(count, "", 0))
        if file.tell() != walk.size:
            raise walk.corrupt(f"goes on for {walk.size - file.tell()} bytes after the end of its tree")
    if not index:
        raise CorruptCheckpoint(f"{path} holds no arrays. {GET_IT_AGAIN}")
    return index


def write_msgpack(file: BinaryIO, tree: Mapping[str, Any], dtype: np.dtype) -> None:
    """Writes nested mappings of arrays as Flax does, each array converted to `dtype` when its turn comes.

    Raises:
      FloatingPointError: a value is beyond the range of `dtype`.
    """
    packer = msgpack.Packer()
    file.write(packer.pack_map_header(len(tree)))
    for key, value in tree.items():
        file.write(packer.pack(key))
        if isinstance(value, Mapping):
            write_msgpack(file, value, dtype)
        else:
            with np.errstate(over="raise"):
                array = np.asarray(value).astype(dtype)
            packed = packer.pack((array.shape, dtype.name, array.tobytes()))
            file.write(packer.pack(msgpack.ExtType(_ARRAY, packed)))


class _Walk:
    """Steps through a msgpack file from header to header, jumping over the arrays' bytes."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path = path
        self.file = file
        self.size = path.stat().st_size

    def corrupt(self, what: str) -> CorruptCheckpoint:
        return CorruptCheckpoint(f"{self.path} {what} (at byte {self.file.tell()} of {self.size}). {GET_IT_AGAIN}")

    def take(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise self.corrupt("is cut off")
        return self.file.read(count)

    def header(self) -> tuple[str, int]:
        first = self.take(1)[0]
        for low, high, kind in _SHORT:
            if low <= first < high:
                return kind, first - low
        if 0xD4 <= first <= 0xD8:
            return "ext", 1 << (first - 0xD4)
        if first in _LONG:
            kind, packing = _LONG[first]
            return kind, struct.unpack(packing, self.take(struct.calcsize(packing)))[0]
        if first in (0xC2, 0xC3):
            return "bool", first - 0xC2
        raise self.corrupt(f"holds something that is neither a tree nor an array (type byte {first:#04x})")

    def expect(self, *wanted: str) -> int:
        kind, number = self.header()
        if kind not in wanted:
            raise self.corrupt(f"has {kind} where {' or '.join(wanted)} belongs")
        return number

    def text(self) -> str:
        try:
            return self.take(self.expect("str", "bin")).decode()
        except UnicodeDecodeError as err:
            raise self.corrupt("holds a name that is not UTF-8") from err

    def leaves(self, count: int, prefix: str, depth: int) -> Iterator[tuple[str, StoredArray]]:
        """Yields every array below a map of `count` entries whose header has just been read."""
        if depth > _MAX_DEPTH:
            raise self.corrupt("is nested too deeply")
        seen = set()
        for _ in range(count):
            key = self.text()
            if key in seen:
                raise self.corrupt(f"holds {prefix + key} twice")
            seen.add(key)
            if key == _CHUNKED:
                yield prefix.removesuffix("/"), self.chunked_array(count)
                return
            kind, number = self.header()
            if kind == "map":
                yield from self.leaves(number, f"{prefix}{key}/", depth + 1)
            elif kind == "ext":
                yield prefix + key, self.array(number)
            else:
                raise self.corrupt(f"has {kind} at {prefix + key} where a tree or an array belongs")

    def array(self, length: int) -> StoredArray:
        """Reads the head of an array of `length` bytes in all, and jumps over its elements."""
        code = self.take(1)[0]
        end = self.file.tell() + length
        if code not in (_ARRAY, _SCALAR):
            raise self.corrupt(f"holds an extension of type {code}, which is no array")
        if self.expect("array") != 3:
            raise self.corrupt("holds an array that is not (shape, dtype, bytes)")
        shape = tuple(self.expect("int") for _ in range(self.expect("array")))
        dtype = self.text()
        nbytes = self.expect("bin")
        offset, count = self.file.tell(), math.prod(shape)
        if offset + nbytes > self.size:
            raise self.corrupt("is cut off inside an array")
        if offset + nbytes != end or (dtype in FLOAT_DTYPES and nbytes != count * FLOAT_DTYPES[dtype].itemsize):
            raise self.corrupt(f"holds an array whose {nbytes} bytes do not fit shape {shape} of {dtype}")
        self.file.seek(end)
        return StoredArray(shape=shape, parts=(Part(offset, count, dtype),))

    def chunked_array(self, count: int) -> StoredArray:
        """Reads the rest of {"__msgpack_chunked_array__": true, "shape": {"0": …}, "chunks": {"0": …}}."""
        self.expect("bool")
        if count != 3 or self.text() != "shape":
            raise self.corrupt("holds a chunked array without a shape")
        shape = self.numbered(lambda: self.expect("int"))
        if self.text() != "chunks":
            raise self.corrupt("holds a chunked array without chunks")
        parts = tuple(part for chunk in self.numbered(lambda: self.array(self.expect("ext"))) for part in chunk.parts)
        if sum(part.count for part in parts) != math.prod(shape):
            raise self.corrupt(f"holds a chunked array whose chunks do not fit shape {shape}")
        return StoredArray(shape=shape, parts=parts)

    def numbered(self, read_item: Callable[[], T]) -> tuple[T, ...]:
        """Reads a tuple as Flax writes it inside a chunked array: {"0": …, "1": …}."""
        items = []
        for i in range(self.expect("map")):
            if self.text() != str(i):
                raise self.corrupt("holds a chunked array whose pieces are out of order")
            items.append(read_item())
        return tuple(items)
