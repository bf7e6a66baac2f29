"""PyTorch's files as data: which arrays they hold under which names, and where their numbers lie in the file.

For `dalle-serve convert` alone; what serves a model reads no such file. Pickles are read by `pickle_values`, which runs
nothing, and the numbers are not read here at all: every array becomes a `StoredArray`, as of the other formats.

Formats: as in `torch_formats`.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model_core.errors import CorruptCheckpoint, ModelNotFound
from model_core.weights.pickle_values import Made, Persistent
from model_core.weights.torch_formats import read_five_pickles, read_zip, storage_of
from model_core.weights.weight_files import GET_IT_AGAIN, Part, StoredArray

_MAX_VALUES = 1_000_000  # that are looked at, of a tree that may name its parts often
_MAX_DEPTH = 64


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
                read = read_zip if start == b"PK" else read_five_pickles
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
        found = storage_of(storage.key) if isinstance(storage, Persistent) else None
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
