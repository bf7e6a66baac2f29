"""The two formats of `torch.save`: the pickle of what was saved, and where the numbers lie that it refers to.

A zip with `data.pkl` and a member for each storage; before PyTorch 1.6, five pickles in a row and then the storages.
"""

import io
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from model_core.errors import CorruptCheckpoint
from model_core.weights.pickle_values import MAX_BYTES, Made, Name, Persistent, read_pickle
from model_core.weights.weight_files import GET_IT_AGAIN, Part

_MAGIC = 0x1950A86A20F9469CFC6C
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


def read_zip(path: Path, file: BinaryIO, size: int) -> tuple[Any, dict[str, Part]]:
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


def read_five_pickles(path: Path, file: BinaryIO, size: int) -> tuple[Any, dict[str, Part]]:
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
            if (storage := storage_of(value.key)) is not None:
                yield storage[0], storage[1][1]
        elif isinstance(value, Made):
            waiting += [value.arguments, value.state, value.entries]
        else:
            waiting += value.values() if isinstance(value, dict) else value


def storage_of(key: Any) -> tuple[str, tuple[str, int], int] | None:
    """Reads `('storage', class, key, device, count)`, which in the older format may end with None; None for another."""
    if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage" or key[5:] not in ((), (None,)):
        return None
    _, kind, name, _, count = key[:5]
    if not isinstance(kind, Name) or not isinstance(name, str) or type(count) is not int or count < 0:
        return None
    module, _, attribute = kind.text.rpartition(".")
    return (name, _STORAGES[attribute], count) if module == "torch" and attribute in _STORAGES else None
