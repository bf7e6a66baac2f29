"""Pickle files as data: a reader that gives what a pickle describes, and cannot run what it asks for.

The standard library's `pickletools` lists the instructions of a pickle and reads what stands behind each; this module
interprets those that checkpoints consist of, on values of its own. A class or function is only ever a `Name`, and the
call of one only a `Made`: nothing is imported, looked up or called. Every other instruction is refused, and so is every
name that no checkpoint has.

Format: Python's `Lib/pickletools.py`, which describes every instruction.
"""

import io
import pickletools
import struct
from typing import Any

from model_core.errors import CorruptCheckpoint

MAX_BYTES = 64 * 2**20  # of one pickle; those of public models of 12 billion parameters have less than 2 MB
MAX_INSTRUCTIONS = 4_000_000
_MAX_TUPLE_KEY = 16
_MAX_NAME = 1000

# Where classes and functions may come from that are named in checkpoints. They remain names.
_PACKAGES = {
    "argparse", "collections", "dall_e", "dalle_pytorch", "deepspeed", "lightning", "lightning_fabric", "numpy",
    "omegaconf", "pytorch_lightning", "rudalle", "taming", "torch",
}  # fmt: skip
_BUILTINS = {"set", "frozenset", "dict", "list", "tuple", "int", "float", "bool", "object", "slice"}
_SINGLE = {"_codecs.encode", "copyreg._reconstructor", "copy_reg._reconstructor", "pathlib.PosixPath", "pathlib.Path"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS_AND_TEXTS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_OTHERS = {
    "PROTO", "FRAME", "MARK", "TUPLE", "LIST", "DICT", "SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS",
    "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD",
    "BINPERSID",
}  # fmt: skip
_KNOWN = {*_NUMBERS_AND_TEXTS, *_CONSTANTS, *_EMPTY, *_TUPLES, *_OTHERS}
_INSTRUCTIONS = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}


class Name:
    """A class or function that a pickle names, as text: `torch.FloatStorage`."""

    __slots__ = ("text",)

    def __init__(self, text: str):
        self.text = text


class Made:
    """What a pickle wanted made by a call of `name`; nothing was.

    Attributes:
      arguments: of the call.
      state: what the object was to be given afterwards, or None.
      entries: what was to be put into it under keys, as into a dict.
    """

    __slots__ = ("arguments", "entries", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...]):
        self.name = name
        self.arguments = arguments
        self.state: Any = None
        self.entries: dict[Any, Any] = {}


class Persistent:
    """A reference to what lies beside the pickle, such as the numbers of an array."""

    __slots__ = ("key",)

    def __init__(self, key: Any):
        self.key = key


def read_pickle(file: io.BytesIO, place: str) -> Any:
    """Reads one pickle from where `file` stands, and leaves it at its end.

    Returns: None, numbers, texts, bytes, lists, tuples, dicts, and the three classes of this module.

    Args:
      place: what to call the file in errors.

    Raises:
      CorruptCheckpoint: it is not a pickle, is larger than `MAX_BYTES` or longer than `MAX_INSTRUCTIONS`, or asks for
        something that no checkpoint needs; says what.
    """
    start = file.tell()
    machine = _Machine(place)
    try:
        for _ in range(MAX_INSTRUCTIONS):
            code = file.read(1)
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise machine.corrupt(f"{code!r} is no instruction" if code else "it has no end")
            if instruction.name == "STOP":
                return machine.result()
            if instruction.name not in _KNOWN:
                raise machine.refused(f"the instruction {instruction.name}")
            if instruction.name == "GLOBAL":
                argument = (_line(file), _line(file))
            else:
                argument = instruction.arg.reader(file) if instruction.arg else None
            machine.step(instruction.name, argument)
            if file.tell() - start > MAX_BYTES:
                break
    except (ValueError, struct.error) as err:
        raise machine.corrupt(str(err)) from err
    except (IndexError, KeyError) as err:
        raise machine.corrupt("an instruction finds nothing to work on") from err
    raise machine.refused(f"more than {MAX_INSTRUCTIONS} instructions, or {MAX_BYTES} bytes, of a pickle")


def _line(file: io.BytesIO) -> str:
    line = file.readline(_MAX_NAME)
    if not line.endswith(b"\n"):
        raise ValueError("a name has no end")
    return line[:-1].decode()


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, place: str):
        self.place = place
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}

    def corrupt(self, what: str) -> CorruptCheckpoint:
        return CorruptCheckpoint(f"{self.place} is not a checkpoint's pickle: {what:.200}. Download or copy it again.")

    def refused(self, what: str) -> CorruptCheckpoint:
        return CorruptCheckpoint(
            f"{self.place} holds {what:.200}, which no checkpoint needs. Nothing was run; do not open it elsewhere."
        )

    def result(self) -> Any:
        if len(self.stack) != 1 or self.below:
            raise self.corrupt("it does not end with one value")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def step(self, name: str, argument: Any) -> None:
        """Does one instruction."""
        stack = self.stack
        if name in _NUMBERS_AND_TEXTS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.below.append(stack)
            self.stack = []
        elif name == "TUPLE":
            items = self.since_mark()
            self.stack.append(tuple(items))
        elif name in _TUPLES:
            count = _TUPLES[name]
            if len(stack) < count:
                raise IndexError
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("LIST", "DICT"):
            items = self.since_mark()
            self.stack.append(items if name == "LIST" else {})
            if name == "DICT":
                self.put(items)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self.put([key, value])
        elif name == "SETITEMS":
            self.put(self.since_mark())
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            self.append([stack.pop()] if name == "APPEND" else self.since_mark())
        elif name == "GLOBAL":
            stack.append(self.named(*argument))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(self.named(module, attribute))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, callee = stack.pop(), stack.pop()
            if not isinstance(callee, Name) or not isinstance(arguments, tuple):
                raise self.refused("a call of something that it made itself")
            stack.append(Made(callee.text, arguments))
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], Made):
                raise self.refused("a state for something that has none")
            stack[-1].state = state
        elif name == "BINPERSID":
            stack.append(_referred(stack.pop()))

    def named(self, module: Any, attribute: Any) -> Name:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise self.refused("a name that is no text")
        text = f"{module}.{attribute}"
        is_known = module.split(".", 1)[0] in _PACKAGES and "." not in attribute and "__" not in text
        is_builtin = module in ("builtins", "__builtin__") and attribute in _BUILTINS
        if not is_known and not is_builtin and text not in _SINGLE:
            raise self.refused(f"a call or class {text}")
        return Name(text)

    def put(self, items: list[Any]) -> None:
        """Puts keys and values, in turns, into what is on top of the stack."""
        target = self.stack[-1]
        entries = target.entries if isinstance(target, Made) else target
        if not isinstance(entries, dict) or len(items) % 2:
            raise self.refused("entries for something that takes none")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not _is_key(key):
                raise self.refused("a key that is itself a container")
            entries[key] = value

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Made):  # of a list of another class nothing is read
            raise self.refused("items for something that takes none")


def _referred(key: Any) -> Name | Persistent:
    """What a reference stands for; PyTorch's older format refers to classes so: `('module', class, file, source)`."""
    is_class = isinstance(key, tuple) and len(key) == 4 and key[0] == "module" and isinstance(key[1], Name)
    return key[1] if is_class else Persistent(key)


def _is_key(value: Any) -> bool:
    """Whether it may be a key: Python hashes nested tuples by recursion, however deep they are."""
    if isinstance(value, tuple):
        return len(value) <= _MAX_TUPLE_KEY and not any(isinstance(each, tuple | list | dict) for each in value)
    return not isinstance(value, list | dict)
