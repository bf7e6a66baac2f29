"""Pickles are read as data: what a checkpoint consists of becomes values, and nothing else gets anywhere."""

import io
import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import CorruptCheckpoint
from model_core.weights import pickle_values
from model_core.weights.pickle_values import Made, Name, Persistent, read_pickle
from tests import torch_pickles as write

PLAIN = [None, True, -1, 2**80, 1.5, "süß", b"\x00\xff", [1, [2]], {"a": (1, 2, 3, 4), 5: {}}, (), (1,), (1, 2)]


def read(program: bytes) -> object:
    return read_pickle(io.BytesIO(program), "file.pt")


def read_value(value: bytes) -> object:
    return read(write.PROTO + value + write.STOP)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_are_read_as_they_were_written(protocol):
    # Protocol 2 writes bytes as a call of _codecs.encode.
    values = [value for value in PLAIN if protocol > 2 or not isinstance(value, bytes)]
    assert read(pickle.dumps(values, protocol)) == values


def test_the_reader_stops_where_the_pickle_ends():
    file = io.BytesIO(pickle.dumps(1, 2) + pickle.dumps([2], 2) + b"rest")
    assert [read_pickle(file, "file.pt"), read_pickle(file, "file.pt")] == [1, [2]]
    assert file.read() == b"rest"


def test_what_a_pickle_wants_made_is_told_and_not_made():
    made = read_value(write.call("torch", "Size", write.number(3)) + b"}" + b"b")
    assert isinstance(made, Made)
    assert (made.name, made.arguments, made.state, made.entries) == ("torch.Size", (3,), {}, {})
    ordered = read_value(write.dictionary({"a": write.number(1)}, ordered=True))
    assert isinstance(ordered, Made)
    assert ordered.entries == {"a": 1}
    reference = read_value(write.sequence([write.text("storage"), write.global_("torch", "FloatStorage")]) + b"Q")
    assert isinstance(reference, Persistent)
    assert isinstance(reference.key[1], Name)
    assert reference.key[1].text == "torch.FloatStorage"


def test_a_class_that_is_referred_to_is_its_name():
    reference = write.sequence([write.text("module"), write.global_("torch.nn", "Linear"), b"N", b"N"]) + b"Q"
    made = read_value(reference + b")\x81")
    assert isinstance(made, Made)
    assert made.name == "torch.nn.Linear"
    with pytest.raises(CorruptCheckpoint, match=r"os\.system"):
        read_value(write.sequence([write.text("module"), write.global_("os", "system"), b"N", b"N"]) + b"Q)\x81")


@pytest.mark.parametrize("name", write.MALICIOUS)
@pytest.mark.parametrize("where", ["alone", "in a dict"])
def test_what_no_checkpoint_needs_is_refused_and_not_run(name, where, monkeypatch):
    def ran(*_: object) -> None:
        raise AssertionError("something ran")

    monkeypatch.setattr(os, "system", ran)
    monkeypatch.setattr(subprocess, "Popen", ran)
    value = write.MALICIOUS[name]
    value = value if where == "alone" else b"}" + write.text("x") + value + b"s"
    before = set(sys.modules)
    with pytest.raises(CorruptCheckpoint, match=r"file\.pt (holds|is not)") as error:
        read_value(value)
    assert set(sys.modules) == before
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"", "it has no end"),
        (b"\x80\x02K\x01", "it has no end"),
        (b"\x80\x02.", "one value"),
        (b"\x80\x02K\x01K\x02.", "one value"),
        (b"\x80\x02(K\x01.", "one value"),
        (b"\x80\x02t.", "nothing to work on"),
        (b"\x80\x02K\x01\x87.", "nothing to work on"),
        (b"\x80\x02h\x05.", "nothing to work on"),
        (b"\x80\x02X\xff\xff\xff\xffa.", "expected 4294967295 bytes"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa.", "expected"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xffa.", "bytes"),
        (b"\x80\x02\x8b\xff\xff\xff\x7fa.", "not enough data"),
        (b"\x80\x02]}s.", "nothing to work on"),
        (b"\x80\x02]]]s.", "takes none"),
        (b"\x80\x02}(K\x01u.", "takes none"),
        (b"\x80\x02}]K\x01s.", "a key that is itself a container"),
        (b"\x80\x02K\x01K\x02a.", "takes none"),
        (b"\x80\x02]K\x01b.", "a state for something"),
        (b"\x80\x02\xff.", r"b'\\xff' is no instruction"),
        (b"\x80\x02ctorch\nSize", "a name has no end"),
        (b"\x80\x02c\xff\nSize\n.", "decode"),
        (b"\x80\x02c" + b"a" * 2000 + b"\nSize\n.", "a name has no end"),
        (b"\x80\x02S'\\d'\n.", "the instruction STRING"),
        (b"\x80\x02I99\n.", "the instruction INT"),
        (b"\x80\x022.", "the instruction DUP"),
    ],
)
def test_broken_pickles_are_refused_in_words(program, message):
    with pytest.raises(CorruptCheckpoint, match=message):
        read(program)


def test_size_and_length_are_bounded(monkeypatch):
    monkeypatch.setattr(pickle_values, "MAX_INSTRUCTIONS", 50)
    with pytest.raises(CorruptCheckpoint, match="more than 50 instructions"):
        read(pickle.dumps(list(range(100)), 2))
    monkeypatch.setattr(pickle_values, "MAX_BYTES", 50)
    with pytest.raises(CorruptCheckpoint, match="or 50 bytes"):
        read(pickle.dumps(["a" * 100], 2))


def test_values_nested_in_each_other_ten_thousandfold_do_no_harm():
    deep = b"(" * 100_000 + b"t" * 100_000
    assert isinstance(read_value(deep), tuple)
    with pytest.raises(CorruptCheckpoint, match="a key that is itself a container"):
        read_value(b"}" + deep + b"K\x01s")
    assert isinstance(read_value(b"N" + b"Q" * 100_000), Persistent)


def test_a_memo_bomb_takes_no_memory():
    bomb = b"]q\x00" + b"".join(b"](h%ch%ce" % (i, i) + b"q" + bytes([i + 1]) for i in range(100))
    assert write.peak_bytes(lambda: read_value(b"(" + bomb + b"t")) < 1_000_000


OPCODES = [
    *(bytes([code]) for code in b"().]}NQRabeloqsut\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94"),
    *(b"K\x01", b"h\x00", b"h\x01", b"q\x00", b"q\x01", write.text("storage"), write.text("a"), b"j\0\0\0\0"),
    *(
        write.global_("torch", "FloatStorage"),
        write.global_("collections", "OrderedDict"),
        write.global_("os", "system"),
    ),
]


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.sampled_from(OPCODES), max_size=40))
def test_every_program_gives_values_or_is_refused(program):
    before = set(sys.modules)
    try:
        value = read(write.PROTO + b"".join(program) + write.STOP)
    except CorruptCheckpoint:
        value = None
    kinds = (type(None), bool, int, str, list, tuple, dict, Made, Name, Persistent)
    assert isinstance(value, kinds)
    assert set(sys.modules) == before
