"""Curves: what TensorBoard is given is what the lines say."""

import json
import struct
from pathlib import Path

import pytest

from model_core.training.curves import CURVE, Curves

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """(name, step, value) of TensorBoard's records: length, checksum, event, checksum."""
    found = []
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            data = data[16 + length :]
    return found


def test_a_look_at_the_metrics_is_one_point_of_the_board(tmp_path: Path):
    curves = Curves(tmp_path, first=0)
    shown = curves.write([{"step": 1, "loss": 3.0}, {"step": 2, "loss": 1.0}])
    curves.close()
    assert shown == "loss 2"
    assert scalars(tmp_path / "tensorboard") == [("loss", 2, 2.0)]
    assert [json.loads(line)["loss"] for line in (tmp_path / CURVE).read_text().splitlines()] == [3.0, 1.0]
