"""Meters of energy: what the devices of this machine consume.

Of accelerators where NVML knows them (their own meters, else their power over time), else of the processor packages
(RAPL, which only root may read on most systems); where neither is there, there is no meter, rather than a guess. It is
all that the devices consume, whoever makes them.
"""

import re
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

RAPL = Path("/sys/class/powercap")
Joules = Callable[[], float]  # consumed since the last call, or since the meter was made


class Meter(NamedTuple):
    """Something that measures energy, by the name of what it is read from."""

    source: str
    joules: Joules


def find_meter(clock: Callable[[], float] = time.monotonic, rapl: Path = RAPL) -> Meter | None:
    """The best meter of this machine, or None."""
    return _of_nvml(clock) or _of_rapl(rapl)


def _of_nvml(clock: Callable[[], float]) -> Meter | None:
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        devices = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # the package, the driver or the device is not there
        return None
    if not devices:
        return None
    try:
        return Meter("nvml", _rising(lambda: sum(map(nvml.nvmlDeviceGetTotalEnergyConsumption, devices)) / 1e3))
    except nvml.NVMLError:  # of before Volta
        pass
    try:
        return Meter("nvml_power", _integrated(lambda: sum(map(nvml.nvmlDeviceGetPowerUsage, devices)) / 1e3, clock))
    except nvml.NVMLError:
        return None


def _of_rapl(folder: Path) -> Meter | None:
    packages = [path for path in sorted(folder.glob("*-rapl:*")) if re.fullmatch(r"[a-z]+-rapl:\d+", path.name)]
    try:
        meters = [
            _rising(lambda path=path: _number(path / "energy_uj") / 1e6, _number(path / "max_energy_range_uj") / 1e6)
            for path in packages
        ]
    except (OSError, ValueError):  # root alone may read them
        return None
    return Meter("rapl", lambda: sum(meter() for meter in meters)) if meters else None


def _number(path: Path) -> int:
    return int(path.read_text())


def _rising(total: Joules, turns_at: float = 0.0) -> Joules:
    """What a counter has risen by since the last call; one that turns goes back to 0 there."""
    seen = total()

    def joules() -> float:
        nonlocal seen
        before, seen = seen, total()
        return seen - before if seen >= before else max(0.0, seen - before + turns_at)

    return joules


def _integrated(watts: Callable[[], float], clock: Callable[[], float]) -> Joules:
    """Power by the trapezoidal rule."""
    seen, at = watts(), clock()

    def joules() -> float:
        nonlocal seen, at
        (before, began), (seen, at) = (seen, at), (watts(), clock())
        return (before + seen) / 2 * (at - began)

    return joules
