"""Meters of energy: what each one says has been consumed, and which one is taken."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model_core.energy import find_meter


class NVMLError(Exception):
    pass


def nvml(devices: int, *, millijoules: Any = None, milliwatts: Any = None) -> SimpleNamespace:
    """The package, on a machine with so many devices; what is None is not supported."""

    def supported(read: Any) -> Any:
        def value(device: int) -> int:
            if read is None:
                raise NVMLError
            return read(device)

        return value

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: devices,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetTotalEnergyConsumption=supported(millijoules),
        nvmlDeviceGetPowerUsage=supported(milliwatts),
    )


@pytest.fixture(autouse=True)
def _no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


def rapl(folder: Path, **micro_joules: int) -> Path:
    """Packages by number; each with a part of its own that must not count twice."""
    for number, value in micro_joules.items():
        for name in (f"intel-rapl:{number[1:]}", f"intel-rapl:{number[1:]}:0"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "energy_uj").write_text(f"{value}\n")
            (folder / name / "max_energy_range_uj").write_text("10000000\n")
    return folder


def test_accelerators_own_meters_count_those_of_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    total = {0: 5_000, 1: 70_000}
    monkeypatch.setitem(sys.modules, "pynvml", nvml(2, millijoules=total.__getitem__, milliwatts=lambda i: 1))
    meter = find_meter(rapl=rapl(tmp_path, p0=1))
    assert meter is not None and meter.source == "nvml"
    assert meter.joules() == 0
    total.update({0: 6_500, 1: 70_250})
    assert meter.joules() == 1.75
    total.update({0: 0, 1: 0})  # the driver was loaded again
    assert meter.joules() == 0


def test_where_they_have_none_their_power_is_added_up_over_time(monkeypatch: pytest.MonkeyPatch):
    now, power = [0.0], [100_000]
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1, milliwatts=lambda i: power[0]))
    meter = find_meter(lambda: now[0])
    assert meter is not None and meter.source == "nvml_power"
    now[0], power[0] = 10.0, 300_000
    assert meter.joules() == 2000.0
    now[0] = 11.0
    assert meter.joules() == 300.0


def test_without_accelerators_it_is_the_processors_which_may_turn_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(0))
    meter = find_meter(rapl=rapl(tmp_path, p0=9_000_000, p1=1_000_000))
    assert meter is not None and meter.source == "rapl"
    rapl(tmp_path, p0=500_000, p1=2_000_000)
    assert meter.joules() == pytest.approx(1.5 + 1.0)


@pytest.mark.parametrize("unreadable", [True, False])
def test_where_nothing_measures_there_is_no_meter(tmp_path: Path, unreadable: bool):
    if unreadable:
        (rapl(tmp_path, p0=1) / "intel-rapl:0" / "energy_uj").unlink()
    assert find_meter(rapl=tmp_path) is None
