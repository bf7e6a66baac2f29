"""Speed: what is counted, and what the arithmetic of a row is."""

import json
from pathlib import Path

import numpy as np
import pytest

from model_core.energy import Meter
from model_core.families.conditions import StepNumbers
from model_core.training import speed
from model_core.training.footprint import of_part
from model_core.training.speed import Speed, row_flops


def test_a_look_counts_the_rows_since_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(speed.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(speed, "peak_flops", lambda: 1000.0)
    monkeypatch.setattr(speed, "find_meter", lambda: None)
    measured = Speed(tmp_path, row_flops=50.0)
    for _ in range(3):
        measured.count({"codes": np.zeros((4, 9)), "mask": np.zeros((4, 2))})
    now[0] = 102.0
    assert measured.look(3) == {"rows_per_s": 6.0, "mfu": 0.3}
    measured.count(np.zeros((2, 1)))
    now[0] = 103.0
    assert measured.look(4)["rows_per_s"] == 2.0
    lines = [json.loads(line) for line in (tmp_path / speed.FILE).read_text().splitlines()]
    assert [(line["step"], line["seconds"]) for line in lines] == [(3, 2.0), (4, 1.0)]


def test_energy_adds_up_over_attempts_where_it_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    readings = iter([5.0, 7.0, 11.0])

    def joules() -> float:
        if (reading := next(readings, None)) is None:
            raise OSError("the device is away")
        return reading

    monkeypatch.setattr(speed, "find_meter", lambda: Meter("a meter", joules))
    first = Speed(tmp_path, 0.0)
    assert [first.look(step)["total_joules"] for step in (1, 2)] == [5.0, 12.0]
    again = Speed(tmp_path, 0.0)
    assert again.look(3)["total_joules"] == 23.0
    assert "total_joules" not in again.look(4)  # and training goes on
    took = of_part(tmp_path)
    assert took.joules == 23.0
    assert 0 < took.measured_s < took.seconds


def test_without_a_peak_there_is_no_mfu(tmp_path: Path):
    measured = Speed(tmp_path, row_flops=50.0)
    measured.count(np.zeros((2, 1)))
    assert measured.look(1).keys() - {"total_joules"} == {"rows_per_s"}


@pytest.mark.parametrize(
    ("kind", "peak"), [("TPU v5 lite", 197e12), ("TPU v5p", 459e12), ("NVIDIA H100 80GB HBM3", 989e12), ("cpu", None)]
)
def test_a_device_is_found_by_its_kind(monkeypatch: pytest.MonkeyPatch, kind: str, peak: float | None):
    device = type("Device", (), {"device_kind": kind})()
    monkeypatch.setattr(speed.jax, "devices", lambda: [device, device])
    assert speed.peak_flops() == (None if peak is None else 2 * peak)


def test_a_row_is_its_products_thrice_and_a_multiply_add_is_two():
    numbers = StepNumbers(weights=100, text=0, per_code=0)
    assert row_flops(numbers, num_codes=5, text_weights=10, text_length=7) == 3 * 2 * (5 * 100 + 7 * 10)
    looked_at = StepNumbers(weights=0, text=3, per_code=4)  # the text, and each code up to its own
    assert row_flops(looked_at, num_codes=2, text_weights=0, text_length=7) == 3 * 2 * ((3 + 4) + (3 + 8))
