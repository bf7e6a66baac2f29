"""PyTorch's files as data: which arrays they hold under which names, and where their numbers lie in the file.

For `dalle-serve convert` alone; what serves a model reads no such file. Pickles are read by `pickle_values`, which runs
nothing, and the numbers are not read here at all: every array becomes a `StoredArray`, as of the other formats.

Formats, of `torch.save`: a zip with `data.pkl` and a member for each storage; before PyTorch 1.6, five pickles in a row
and then the storages.
"""

import io
import math
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from model_core.errors import CorruptCheckpoint, ModelNotFound
from model_core.weights.pickle_values import MAX_BYTES, Made, Name, Persistent, read_pickle
from model_core.weights.weight_files import GET_IT_AGAIN, Part, StoredArray

_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_VALUES = 1_000_000  # that are looked at, of a tree that may name its parts often
_MAX_DEPTH = 64
_STORAGES = {  # the class of a storage → our name of its numbers, and their bytes
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "DoubleStorage": ("F64", 8),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}


class Unread:
    """An array that lies in its storage with gaps, or turned round; why it is not read."""

    __slots__ = ("why",)

    def __init__(self, why: str):
        self.why = why


class TorchFile:
    """A file that `torch.save` wrote.

    Attributes:
      content: what was saved: None, numbers, texts, lists, dicts and `StoredArray`; of objects of any class, a `Made`.
    """

    def __init__(self, path: Path):
        """Reads everything but the numbers.

        Raises:
          ModelNotFound: there is no such file.
          CorruptCheckpoint: it is not in either format, is cut off, or holds something that no checkpoint needs.
        """
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                start = file.read(2)
                file.seek(0)
                read = _read_zip if start == b"PK" else _read_five_pickles
                saved, storages = read(path, file, size)
        except OSError as err:
            raise ModelNotFound(f"{path} cannot be read ({err.strerror or err}).") from err
        self.content = _Reader(path, storages).value(saved, 0)

    def mapping(self, *keys: str) -> dict[str, Any]:
        """What was saved as a dict under these keys, one in the other, or as a whole.

        Raises:
          CorruptCheckpoint: there is none; names what there is.
        """
        found: Any = self.content
        for key in (*keys, None):
            if not isinstance(found, dict):
                there = ", ".join(map(str, list(self.content)[:10])) if isinstance(self.content, dict) else "no dict"
                wanted = ".".join(keys) or "a dict"
                raise CorruptCheckpoint(f"{self.path} does not hold {wanted} (found: {there:.200}).")
            found = found if key is None else found.get(key)
        return found

    def arrays(self, *keys: str) -> dict[str, StoredArray]:
        """The arrays of the dict under these keys; other entries are left out.

        Raises:
          CorruptCheckpoint: there is no such dict, no array in it, or one that is not read.
        """
        found = self.mapping(*keys)
        for name, value in found.items():
            if isinstance(value, Unread):
                raise CorruptCheckpoint(f"{self.path}: {name!s:.100} {value.why}. Save it again, contiguous.")
        arrays = {
            name: value for name, value in found.items() if isinstance(value, StoredArray) and isinstance(name, str)
        }
        if not arrays:
            raise CorruptCheckpoint(f"{self.path} holds no arrays under {'.'.join(keys) or 'its keys'}.")
        return arrays

    def module_arrays(self) -> dict[str, StoredArray]:
        """The arrays of a module that was saved as a whole, by their dotted names.

        Raises:
          CorruptCheckpoint: it is no module.
        """
        arrays = dict(self._of_module(self.content, "", [_MAX_VALUES]))
        if not arrays:
            raise CorruptCheckpoint(f"{self.path} holds no module with parameters.")
        return arrays

    def _of_module(self, module: Any, prefix: str, left: list[int]) -> Iterator[tuple[str, StoredArray]]:
        left[0] -= 1
        state = module.state if isinstance(module, Made) else None
        if left[0] < 0 or prefix.count(".") > _MAX_DEPTH:
            raise CorruptCheckpoint(f"{self.path} holds more modules than any model has.")
        if not isinstance(state, dict):
            return
        for kind in ("_parameters", "_buffers"):
            for name, array in _entries(state.get(kind)):
                if isinstance(array, StoredArray):
                    yield f"{prefix}{name}", array
        for name, inner in _entries(state.get("_modules")):
            yield from self._of_module(inner, f"{prefix}{name}.", left)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((str(name), each) for name, each in value.items())


def _read_zip(path: Path, file: BinaryIO, size: int) -> tuple[Any, dict[str, Part]]:
    """Reads the pickle of a zip, and where its members lie: as parts of bytes, by key."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError, EOFError) as err:
        raise CorruptCheckpoint(f"{path} is a broken zip ({err}). {GET_IT_AGAIN}") from err
    roots = [name.removesuffix("data.pkl") for name in members if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(roots) != 1:
        raise CorruptCheckpoint(f"{path} is a zip without data.pkl, not what torch.save writes.")
    root = roots[0]
    parts = {name.removeprefix(root): _place(path, file, info, size) for name, info in members.items()}
    if "byteorder" in parts and _content(path, file, parts["byteorder"], 16) != b"little":
        raise CorruptCheckpoint(f"{path} was written on a big-endian machine, which is not supported.")
    pickled = _content(path, file, parts["data.pkl"], MAX_BYTES)
    storages = {name.removeprefix("data/"): part for name, part in parts.items() if name.startswith("data/")}
    return read_pickle(io.BytesIO(pickled), str(path)), storages


def _place(path: Path, file: BinaryIO, info: zipfile.ZipInfo, size: int) -> Part:
    """Where a member's bytes lie; members that are packed or locked are refused."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
        raise CorruptCheckpoint(
            f"{path}: its member {info.filename:.100} is compressed or encrypted; torch.save does not."
        )
    file.seek(max(info.header_offset, 0))
    header = file.read(30)
    if info.header_offset < 0 or len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise CorruptCheckpoint(f"{path}: its member {info.filename:.100} has no header. {GET_IT_AGAIN}")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    start = info.header_offset + 30 + name_length + extra_length
    if start + info.file_size > size:
        raise CorruptCheckpoint(f"{path} is cut off inside {info.filename:.100}. {GET_IT_AGAIN}")
    return Part(start, info.file_size, "bytes")


def _content(path: Path, file: BinaryIO, part: Part, most: int) -> bytes:
    if part.count > most:
        raise CorruptCheckpoint(f"{path} has a pickle of {part.count} bytes; at most {most} are read.")
    file.seek(part.offset)
    return file.read(part.count)


def _read_five_pickles(path: Path, file: BinaryIO, size: int) -> tuple[Any, dict[str, Part]]:
    """Reads the older format. Storages have no name in it: their place follows from the order of their keys."""
    head = io.BytesIO(file.read(min(size, MAX_BYTES)))
    if head.getbuffer()[:1] != b"\x80" or read_pickle(head, str(path)) != _MAGIC:
        raise CorruptCheckpoint(f"{path} is not what torch.save writes, neither a zip nor its older format.")
    version, system = read_pickle(head, str(path)), read_pickle(head, str(path))
    if version != 1001 or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CorruptCheckpoint(
            f"{path} is of protocol {version!r:.50} or big-endian; only 1001, little-endian, is read."
        )
    saved, keys = read_pickle(head, str(path)), read_pickle(head, str(path))
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CorruptCheckpoint(f"{path} does not list the keys of its storages. {GET_IT_AGAIN}")
    known = dict(_itemsizes(saved))
    storages: dict[str, Part] = {}
    offset = head.tell()
    for key in keys:
        file.seek(offset)
        packed = file.read(8)
        count = struct.unpack("<q", packed)[0] if len(packed) == 8 else -1
        nbytes = count * known.get(key, 0)
        if key not in known or count < 0 or offset + 8 + nbytes > size:
            raise CorruptCheckpoint(f"{path} is cut off at its storage {key:.50}, or nothing uses it. {GET_IT_AGAIN}")
        storages[key] = Part(offset + 8, nbytes, "bytes")
        offset += 8 + nbytes
    return saved, storages


def _itemsizes(saved: Any) -> Iterator[tuple[str, int]]:
    """The keys of all storages that are mentioned anywhere, and the bytes of one of their numbers."""
    seen: set[int] = set()
    waiting = [saved]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or not isinstance(value, Made | Persistent | dict | list | tuple):
            continue
        seen.add(id(value))
        if isinstance(value, Persistent):
            if (storage := _storage_of(value.key)) is not None:
                yield storage[0], storage[1][1]
        elif isinstance(value, Made):
            waiting += [value.arguments, value.state, value.entries]
        else:
            waiting += value.values() if isinstance(value, dict) else value


def _storage_of(key: Any) -> tuple[str, tuple[str, int], int] | None:
    """Reads `('storage', class, key, device, count)`, which in the older format may end with None; None for another."""
    if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage" or key[5:] not in ((), (None,)):
        return None
    _, kind, name, _, count = key[:5]
    if not isinstance(kind, Name) or not isinstance(name, str) or type(count) is not int or count < 0:
        return None
    module, _, attribute = kind.text.rpartition(".")
    return (name, _STORAGES[attribute], count) if module == "torch" and attribute in _STORAGES else None


class _Reader:
    """What was saved → plain values, each object once, and arrays as places in the file."""

    def __init__(self, path: Path, storages: Mapping[str, Any]):
        self.path = path
        self.storages = storages
        self.left = _MAX_VALUES
        self.made: dict[int, Any] = {}

    def corrupt(self, what: str) -> CorruptCheckpoint:
        return CorruptCheckpoint(f"{self.path} {what:.200}. {GET_IT_AGAIN}")

    def value(self, value: Any, depth: int) -> Any:
        """Replaces dicts of all kinds by dicts, arrays by their places, modules by what they hold."""
        if isinstance(value, Persistent):  # numbers without an array
            return None
        if not isinstance(value, dict | list | tuple | Made):
            return value
        if id(value) in self.made:
            return self.made[id(value)]
        self.left -= 1
        if self.left < 0 or depth > _MAX_DEPTH:
            raise self.corrupt("is nested more deeply, or holds more, than any checkpoint")
        result = self.of_container(value, depth + 1)
        self.made[id(value)] = result
        return result

    def of_container(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return self.entries(value, depth)
        if isinstance(value, list | tuple):
            self.left -= len(value)
            if self.left < 0:
                raise self.corrupt("holds more than any checkpoint")
            return type(value)(self.value(each, depth) for each in value)
        name, arguments = value.name, value.arguments
        if name == "collections.OrderedDict":
            return self.entries(value.entries, depth)
        if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return self.value(arguments[0], depth) if arguments else None
        if name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return self.array(*arguments[:4])
        if name == "torch.Size":
            return arguments[0] if arguments else ()
        made = Made(name, ())
        self.made[id(value)] = made  # an object may hold itself
        made.state = self.value(value.state, depth)
        made.entries = self.entries(value.entries, depth)
        return made

    def entries(self, entries: dict[Any, Any], depth: int) -> dict[Any, Any]:
        self.left -= len(entries)
        if self.left < 0:
            raise self.corrupt("holds more than any checkpoint")
        return {key: self.value(each, depth) for key, each in entries.items()}

    def array(
        self, storage: Any = None, offset: Any = None, size: Any = None, stride: Any = None
    ) -> StoredArray | Unread:
        """An array's place; an error where it does not lie inside its storage."""
        found = _storage_of(storage.key) if isinstance(storage, Persistent) else None
        sizes, strides = ((each.arguments[0] if each.arguments else ()) if isinstance(each, Made) else each
                          for each in (size, stride))  # fmt: skip
        if found is None or not _are_counts(sizes) or not _are_counts(strides) or not _are_counts((offset,)):
            raise self.corrupt("holds an array of a kind that is not read")
        key, (dtype, itemsize), count = found
        part = self.storages.get(key)
        if part is None or part.count != count * itemsize or len(sizes) != len(strides):
            raise self.corrupt(f"holds an array whose storage {key!r:.50} is missing or of another size")
        total = math.prod(sizes)
        reach = sum((size - 1) * step for size, step in zip(sizes, strides, strict=True)) + 1 if total else 0
        if offset + max(total, reach) > count:
            raise self.corrupt(f"holds an array of shape {sizes!r:.100} that does not lie in its storage")
        # The stored axes from the widest steps to the narrowest: together they must cover their numbers without gaps.
        order = sorted(range(len(sizes)), key=lambda axis: (-strides[axis], axis))
        step = 1
        for axis in reversed(order):
            if sizes[axis] != 1 and total and strides[axis] != step:
                return Unread(f"is a view of shape {sizes!r:.100} with steps {strides!r:.100}")
            step *= sizes[axis]
        stored = tuple(sizes[axis] for axis in order)
        axes = None if order == sorted(order) else tuple(order.index(axis) for axis in range(len(order)))
        return StoredArray(shape=stored, parts=(Part(part.offset + offset * itemsize, total, dtype),), axes=axes)


def _are_counts(values: Any) -> bool:
    is_short = isinstance(values, tuple) and len(values) <= 16
    return is_short and all(type(value) is int and 0 <= value < 2**48 for value in values)
