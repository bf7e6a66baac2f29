"""Curves: what TensorBoard is given is what the lines say."""

import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from model_core.errors import InvalidValue
from model_core.training.curves import CURVE, Curves, as_numbers, means_of, shown

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
    lines = as_numbers([{"step": 1, "loss": jnp.float32(3.0)}, {"step": 2, "loss": 1.0, "loss_kept": 5.0}])
    means = means_of(lines)
    curves.write(lines, means)
    curves.close()
    assert shown(means) == "loss 2 loss_kept 5"
    assert scalars(tmp_path / "tensorboard") == [("loss", 2, 2.0), ("loss_kept", 2, 5.0)]
    assert [json.loads(line)["loss"] for line in (tmp_path / CURVE).read_text().splitlines()] == [3.0, 1.0]


def test_weights_and_biases_is_told_where_a_project_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list = []
    run = SimpleNamespace(log=lambda means, step: told.append((step, means)), finish=lambda: told.append("finished"))
    wandb = SimpleNamespace(init=lambda **about: told.append((about["id"], about["resume"])) or run)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    folder = tmp_path / "runs" / "dalle_bart"
    curves = Curves(folder, first=0)
    curves.write([{"step": 3, "loss": 1.0}], {"loss": 1.0})
    curves.close()
    assert told == [("runs-dalle_bart", "allow"), (3, {"loss": 1.0}), "finished"]
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InvalidValue, match="pip install wandb, or unset it"):
        Curves(folder, first=0)
