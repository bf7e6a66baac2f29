"""PyTorch's two formats: the arrays where they lie, nothing outside, and nothing else."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from model_core.errors import CorruptCheckpoint, ModelNotFound
from model_core.weights import torch_files
from model_core.weights.safetensors_writer import write_safetensors
from model_core.weights.torch_files import TorchFile
from model_core.weights.weight_files import FLOAT_DTYPES, StoredArray, read_array
from tests import torch_pickles as write

FIXTURES = Path(__file__).parents[3] / "parity" / "fixtures"
A = np.arange(6, dtype=np.float32).reshape(2, 3)
FORMATS = {"zip": write.zip_file, "older": write.old_file}


@pytest.fixture
def opened(tmp_path):
    def open_(content: bytes) -> TorchFile:
        (tmp_path / "a.pt").write_bytes(content)
        return TorchFile(tmp_path / "a.pt")

    return open_


def numbers(file: TorchFile, array: StoredArray) -> np.ndarray:
    with file.path.open("rb") as opened:
        return read_array(opened, array, FLOAT_DTYPES["float32"])


@pytest.mark.parametrize("kind", FORMATS)
def test_arrays_are_where_they_say(opened, kind):
    old = kind == "older"
    half = np.array([1.5, -2], np.float16)
    value = write.dictionary(
        {
            "weights": write.dictionary(
                {
                    "a": write.array("0", A, old),
                    "again": write.array("0", A, old),
                    "row": write.tensor("0", 6, 3, (3,), (1,), old=old),
                    "turned": write.tensor("0", 6, 0, (3, 2), (1, 3), old=old),
                    "turned_once_more": write.tensor("0", 6, 0, (1, 3, 1, 2), (99, 1, 7, 3), old=old),
                    "nothing": write.tensor("0", 6, 6, (0, 4), (4, 1), old=old),
                    "scalar": write.tensor("0", 6, 5, (), (), old=old),
                    "half": write.array("1", half, old),
                },
                ordered=True,
            ),
            "epoch": write.number(3),
        }
    )
    file = opened(FORMATS[kind](value, {"0": A, "1": half}))
    arrays = file.arrays("weights")
    expected = {"a": A, "again": A, "row": A[1], "turned": A.T, "turned_once_more": A.T[None, :, None], "half": half}
    expected |= {"nothing": np.zeros((0, 4)), "scalar": A[1, 2]}
    assert arrays.keys() == expected.keys()
    for name, wanted in expected.items():
        np.testing.assert_array_equal(numbers(file, arrays[name]), wanted)
    assert file.mapping()["epoch"] == 3


@pytest.mark.parametrize("name", ["encoder", "decoder"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_pickled_module_has_the_published_arrays(opened, name, kind):
    path = FIXTURES / "openai-dvae" / f"{name}.pkl"
    file = TorchFile(path) if kind == "zip" else opened(write.as_old_file(path))
    wanted = load_file(FIXTURES / "openai-dvae" / "model.safetensors")
    wanted = {key.removeprefix(f"{name}."): array for key, array in wanted.items() if key.startswith(name)}
    arrays = file.module_arrays()
    assert arrays.keys() == wanted.keys()
    for key, array in wanted.items():
        np.testing.assert_array_equal(numbers(file, arrays[key]), array)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (write.tensor("0", 6, 0, (7,), (1,)), "does not lie in its storage"),
        (write.tensor("0", 6, 1, (2, 3), (3, 1)), "does not lie in its storage"),
        (write.tensor("0", 6, 0, (2, 2), (5, 1)), "does not lie in its storage"),
        (write.tensor("0", 6, 0, (2**40,), (0,)), "does not lie in its storage"),
        (write.tensor("0", 6, 0, (2**60,), (1,)), "a kind that is not read"),
        (write.tensor("0", 6, -1, (1,), (1,)), "a kind that is not read"),
        (write.tensor("0", 6, 0, (-1,), (1,)), "a kind that is not read"),
        (write.tensor("0", 6, 0, (2,), (-1,)), "a kind that is not read"),
        (write.tensor("0", 6, 0, (2, 3), (1,)), "missing or of another size"),
        (write.tensor("0", 7, 0, (2,), (1,)), "missing or of another size"),
        (write.tensor("1", 6, 0, (2,), (1,)), "missing or of another size"),
        (write.tensor("0", 6, 0, (1,) * 17, (1,) * 17), "a kind that is not read"),
        (write.call("torch._utils", "_rebuild_tensor_v2"), "a kind that is not read"),
        (write.call("torch._utils", "_rebuild_tensor_v2", b"N", b"N", b"N", b"N"), "a kind that is not read"),
    ],
)
def test_arrays_that_reach_out_of_their_storage_are_refused(opened, tensor, message):
    with pytest.raises(CorruptCheckpoint, match=message):
        opened(write.zip_file(write.dictionary({"a": tensor}), {"0": A}))


def test_a_view_with_gaps_is_refused_only_where_it_is_needed(opened):
    view = write.tensor("0", 6, 0, (2, 2), (3, 1))
    value = write.dictionary(
        {"weights": write.dictionary({"a": view}), "fine": write.dictionary({"a": write.array("0", A)})}
    )
    file = opened(write.zip_file(value, {"0": A}))
    assert file.arrays("fine").keys() == {"a"}
    with pytest.raises(CorruptCheckpoint, match=r"a is a view of shape \(2, 2\) with steps \(3, 1\). Save it again"):
        file.arrays("weights")


def test_containers_that_hold_themselves_or_too_much_are_refused(opened):
    with pytest.raises(CorruptCheckpoint, match="nested more deeply"):
        opened(write.zip_file(b"]q\x00h\x00a", {}))
    with pytest.raises(CorruptCheckpoint, match="nested more deeply"):
        opened(write.zip_file(b"(" * 1000 + b"t" * 1000, {}))
    with pytest.raises(CorruptCheckpoint, match="nested more deeply"):
        opened(write.zip_file(b"}q\x00" + write.text("a") + b"h\x00s", {}))


def test_a_module_named_many_times_is_refused(opened, monkeypatch):
    """Each of 40 modules holds the one before twice: 2⁴⁰ names, of a pickle of 4 KB."""
    start = write.global_("torch.nn", "Module") + b")\x81" + b"}" + write.text("_parameters") + b"}sb"
    program = start + b"q\x00"
    for i in range(40):
        inner = b"}(" + write.text("a") + b"h%c" % i + write.text("b") + b"h%c" % i + b"u"
        program += write.global_("torch.nn", "Module") + b")\x81" + b"}" + write.text("_modules") + inner + b"sb"
        program += b"q" + bytes([i + 1])
    file = opened(write.zip_file(b"(" + program + b"l", {}))
    file.content = file.content[-1]
    monkeypatch.setattr(torch_files, "_MAX_VALUES", 10_000)
    with pytest.raises(CorruptCheckpoint, match="more modules than any model"):
        file.module_arrays()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", write.MALICIOUS)
def test_malicious_files_are_refused_in_both_formats(opened, kind, name):
    with pytest.raises(CorruptCheckpoint, match=r"no checkpoint needs|not a checkpoint's pickle"):
        opened(FORMATS[kind](write.MALICIOUS[name], {}))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_cut_is_noticed(opened, kind):
    value = write.dictionary({"a": write.array("0", A, kind == "older")})
    whole = FORMATS[kind](value, {"0": A})
    opened(whole)
    for length in range(len(whole)):
        with pytest.raises(CorruptCheckpoint):
            opened(whole[:length])


def test_zips_that_torch_does_not_write_are_refused(opened, tmp_path):
    value = write.dictionary({"a": write.array("0", A)})
    with pytest.raises(CorruptCheckpoint, match="compressed or encrypted"):
        opened(write.zip_file(value, {"0": A}, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("archive/code.py", "import os")
    with pytest.raises(CorruptCheckpoint, match=r"a zip without data\.pkl"):
        TorchFile(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(CorruptCheckpoint, match="big-endian"):
        TorchFile(tmp_path / "c.zip")
    whole = bytearray(write.zip_file(value, {"0": A}))
    whole[-6:-2] = b"\xff\xff\xff\x7f"  # where the directory begins: behind the end
    with pytest.raises(CorruptCheckpoint, match=r"a broken zip|has no header"):
        opened(bytes(whole))
    for content in (b"", b"\x80", b"MZ", b"<html>", b"\x80\x02K\x01."):
        with pytest.raises(CorruptCheckpoint):
            opened(content)
    with pytest.raises(ModelNotFound, match="cannot be read"):
        TorchFile(tmp_path / "nowhere.pt")


def test_what_is_not_there_is_named(opened):
    file = opened(write.zip_file(write.dictionary({"state": b"}", "epoch": write.number(1)}), {}))
    with pytest.raises(CorruptCheckpoint, match=r"does not hold weights \(found: state, epoch\)"):
        file.arrays("weights")
    with pytest.raises(CorruptCheckpoint, match="no arrays under state"):
        file.arrays("state")
    with pytest.raises(CorruptCheckpoint, match="no module with parameters"):
        file.module_arrays()


def test_what_is_written_is_what_the_library_reads(opened, tmp_path):
    kinds = {"f": A, "half": A.astype(np.float16), "i": np.arange(3, dtype=np.int64), "b": np.array([True, False])}
    value = {name: write.array(name, array) for name, array in kinds.items()}
    value["turned"] = write.tensor("f", 6, 0, (3, 2), (1, 3))
    file = opened(write.zip_file(write.dictionary(value), kinds))
    arrays = {name: (file.path, array) for name, array in file.arrays().items()}
    size = write_safetensors(tmp_path / "out", arrays)
    assert size == (tmp_path / "out").stat().st_size
    for name, array in load_file(tmp_path / "out").items():
        expected = A.T if name == "turned" else kinds[name]
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype
    write_safetensors(tmp_path / "out", arrays, "float16")
    kinds_then = {name: str(array.dtype) for name, array in load_file(tmp_path / "out").items()}
    assert kinds_then == {"f": "float16", "half": "float16", "turned": "float16", "i": "int64", "b": "bool"}


def test_a_file_that_names_one_array_too_often_is_not_written(opened, tmp_path):
    large = np.zeros(100_000, np.float32)
    value = write.dictionary({f"{i}": write.array("0", large) for i in range(100)})
    file = opened(write.zip_file(value, {"0": large}))
    arrays = {name: (file.path, array) for name, array in file.arrays().items()}
    with pytest.raises(CorruptCheckpoint, match="far more than the file has"):
        write_safetensors(tmp_path / "out", arrays)
    assert not (tmp_path / "out").exists()
