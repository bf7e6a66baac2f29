"""Writes PyTorch's two file formats by hand, without PyTorch, and pickles that ask for what no checkpoint needs."""

import io
import pickletools
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

_STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage", "bool": "BoolStorage"}
PROTO, STOP = b"\x80\x02", b"."


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def sequence(items: list[bytes]) -> bytes:
    """A tuple of values."""
    return b"(" + b"".join(items) + b"t"


def global_(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return global_(module, name) + sequence(list(arguments)) + b"R"


def dictionary(entries: Mapping[str, bytes], ordered: bool = False) -> bytes:
    start = call("collections", "OrderedDict") if ordered else b"}"
    return start + b"(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def tensor(
    key: str,
    count: int,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dtype: str = "float32",
    old: bool = False,
) -> bytes:
    storage = [text("storage"), global_("torch", _STORAGES[dtype]), text(key), text("cpu"), number(count)]
    persistent = sequence(storage + ([b"N"] if old else [])) + b"Q"
    sizes, strides = sequence([number(n) for n in size]), sequence([number(n) for n in stride])
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", persistent, number(offset), sizes, strides, b"\x89", hooks)


def array(key: str, values: np.ndarray, old: bool = False) -> bytes:
    """A whole array whose storage has this key."""
    strides = tuple(step // values.itemsize for step in values.strides)
    return tensor(key, values.size, 0, values.shape, strides, str(values.dtype), old)


def zip_file(value: bytes, storages: Mapping[str, np.ndarray], compression: int = zipfile.ZIP_STORED) -> bytes:
    """What `torch.save` writes since PyTorch 1.6."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", PROTO + value + STOP)
        archive.writestr("archive/byteorder", "little")
        for key, values in storages.items():
            archive.writestr(f"archive/data/{key}", values.tobytes())
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def old_file(value: bytes, storages: Mapping[str, np.ndarray]) -> bytes:
    """What `torch.save` wrote before."""
    magic = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
    sizes = {"short": number(2), "int": number(4), "long": number(4)}
    system = b"}(" + text("protocol_version") + number(1001) + text("little_endian") + b"\x88" + text("type_sizes")
    system += dictionary(sizes) + b"u"
    keys = b"](" + b"".join(map(text, storages)) + b"e"
    pickles = [PROTO + each + STOP for each in (magic, number(1001), system, value, keys)]
    numbers = [struct.pack("<q", values.size) + values.tobytes() for values in storages.values()]
    return b"".join(pickles + numbers)


def as_old_file(path: Path) -> bytes:
    """A file of the newer format, rewritten in the older one."""
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        root = pickled.removesuffix("data.pkl")
        program = archive.read(pickled)
        keys = sorted(
            name.removeprefix(f"{root}data/") for name in archive.namelist() if name.startswith(f"{root}data/")
        )
        raw = {key: archive.read(f"{root}data/{key}") for key in keys}
    instructions = list(pickletools.genops(program))
    ends = [position for _, _, position in instructions[1:]] + [len(program)]
    pieces: list[bytes] = []
    last_tuple = 0
    classes: set[str] = set()  # of modules, which the older format refers to when it meets them first
    wrapped = False
    for (opcode, argument, position), end in zip(instructions, ends, strict=True):
        if opcode.name == "TUPLE":
            last_tuple = len(pieces)
        if opcode.name == "BINPERSID":
            pieces[last_tuple] = b"N" + pieces[last_tuple]  # the older format has a sixth entry
        pieces.append(program[position:end])
        if wrapped:  # this is the memo's instruction, behind the name
            pieces[-1] += b"NNtQ"
            wrapped = False
        if opcode.name == "GLOBAL" and argument not in classes and argument.startswith(("dall_e.", "torch.nn.")):
            classes.add(argument)
            pieces[-1] = b"(" + text("module") + pieces[-1]
            wrapped = True
    return old_file(b"".join(pieces)[2:-1], {key: np.frombuffer(each, np.float32) for key, each in raw.items()})


def peak_bytes(read: Callable[[], object]) -> int:
    """The most memory that `read` has at once: the least of three times, for others allocate too."""
    peaks = []
    for _ in range(3):
        tracemalloc.start()
        read()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(peaks)


OS_SYSTEM = call("os", "system", text("true"))
MALICIOUS = {
    "os.system": OS_SYSTEM,
    "posix.system": call("posix", "system", text("true")),
    "builtins.eval": call("builtins", "eval", text("1 + 1")),
    "__builtin__.exec": call("__builtin__", "exec", text("pass")),
    "builtins.getattr": call("builtins", "getattr", global_("collections", "OrderedDict"), text("fromkeys")),
    "subprocess.Popen": call("subprocess", "Popen", sequence([text("true")])),
    "a name put together": text("os") + text("system") + b"\x93" + sequence([text("true")]) + b"R",
    "a name with dots": text("torch") + text("os.system") + b"\x93" + sequence([text("true")]) + b"R",
    "a name of names": call("torch", "__builtins__", text("eval")),
    "a call inside a call": dictionary({"weights": call("torch", "Size", OS_SYSTEM)}),
    "a call of what a call gave": call("torch", "load", text("x")) + sequence([text("y")]) + b"R",
    "a call as state": call("torch", "Tensor") + OS_SYSTEM + b"b",
    "an instance": b"(" + text("true") + b"ios\nsystem\n",
    "an object": b"(" + global_("os", "system") + text("true") + b"o",
    "a new object": global_("subprocess", "Popen") + sequence([text("true")]) + b"\x81",
    "a new object with names": global_("torch", "Tensor") + b")}\x92",
    "an extension": b"\x82\x01",
    "a reference as text": b"P0\n",
    "a buffer from outside": b"\x97",
}
