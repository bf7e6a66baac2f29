"""Places in weights files: exact, and never past the end."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from model_core.errors import CorruptCheckpoint
from model_core.weights.weight_files import FLOAT_DTYPES, Part, StoredArray, index_safetensors, read_array


def safetensors(header: dict, data: bytes) -> bytes:
    packed = json.dumps(header).encode()
    return struct.pack("<Q", len(packed)) + packed + data


def entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_safetensors_arrays_are_read_as_the_library_wrote_them(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "a": rng.random((3, 4), np.float32),
        "b": rng.random(5).astype(np.float16),
        "c": np.ones((), np.float32),
        "d": np.zeros((0, 3), np.float32),
    }
    save_file(tensors, tmp_path / "w", metadata={"format": "pt"})
    index = index_safetensors(tmp_path / "w")
    assert index.keys() == tensors.keys()
    with (tmp_path / "w").open("rb") as file:
        for name, tensor in tensors.items():
            array = read_array(file, index[name], FLOAT_DTYPES["float32"])
            np.testing.assert_array_equal(array, tensor.astype(np.float32))
            assert array.shape == tensor.shape
            assert array.size == 0 or array.ctypes.data % 64 == 0


def test_bfloat16_is_read(tmp_path):
    values = np.array([1.5, -2.0, 1e30], ml_dtypes.bfloat16)
    (tmp_path / "w").write_bytes(safetensors({"a": entry(0, 6, [3], "BF16")}, values.tobytes()))
    with (tmp_path / "w").open("rb") as file:
        array = read_array(file, index_safetensors(tmp_path / "w")["a"], FLOAT_DTYPES["float32"])
    np.testing.assert_array_equal(array, values.astype(np.float32))


def test_arrays_larger_than_the_buffer_are_converted_whole(tmp_path):
    values = np.random.default_rng(0).random(5_000_000, np.float32)
    values.tofile(tmp_path / "w")
    parts = (Part(0, 4_500_000, "float32"), Part(4_500_000 * 4, 500_000, "float32"))
    with (tmp_path / "w").open("rb") as file:
        array = read_array(file, StoredArray(shape=(5_000_000,), parts=parts), FLOAT_DTYPES["float16"])
    np.testing.assert_array_equal(array, values.astype(np.float16))


def test_file_that_shrinks_after_indexing_is_noticed(tmp_path):
    (tmp_path / "w").write_bytes(bytes(8))
    with (tmp_path / "w").open("rb") as file, pytest.raises(CorruptCheckpoint, match="shorter"):
        read_array(file, StoredArray(shape=(3,), parts=(Part(0, 3, "float32"),)), FLOAT_DTYPES["float32"])


def test_every_cut_and_every_tail_is_noticed(tmp_path):
    save_file({"a": np.ones(3, np.float32), "b": np.zeros((2, 2), np.float16)}, tmp_path / "w")
    whole = (tmp_path / "w").read_bytes()
    for content in [whole[:length] for length in range(len(whole))] + [whole + b"\x00"]:
        (tmp_path / "w").write_bytes(content)
        with pytest.raises(CorruptCheckpoint):
            index_safetensors(tmp_path / "w")


@pytest.mark.parametrize(
    "content",
    [
        b"<html><head></head></html>",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 4) + b"\xff\xff\xff\xff",
        struct.pack("<Q", 2) + b"[]",
        safetensors({"a": 1}, b""),
        safetensors({"a": entry(0, 4, [2])}, bytes(4)),
        safetensors({"a": entry(0, 4, [-1, -1])}, bytes(4)),
        safetensors({"a": entry(-4, 0, [1])}, b""),
        safetensors({"a": entry(0, 4, ["1"])}, bytes(4)),  # type: ignore[list-item]
        safetensors({"a": {"shape": [1]}}, bytes(4)),
    ],
)
def test_what_is_no_safetensors_file_is_called_so(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(CorruptCheckpoint, match="w "):
        index_safetensors(tmp_path / "w")
