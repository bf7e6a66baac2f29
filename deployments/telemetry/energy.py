"""What the devices of a node consume, as a counter of joules: one reporter on each node, whichever replica comes first.

Of accelerators where NVML knows them (their own meters, else their power over time), else of the processor packages
(RAPL, which only root may read on most systems); where neither is there, nothing is reported, rather than a guess. It
is all that the devices consume, whoever makes them.
"""

import re
import socket
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import ray

from deployments.telemetry.metrics import EnergyMetrics

REPORTER = "energy"  # its thread
EVERY_S = 10.0
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


def report() -> None:
    """Reports from this process while no other one of the node does; returns at once, also when called again."""
    is_reporting = any(thread.name == REPORTER for thread in threading.enumerate())
    meter = None if is_reporting else find_meter()
    if meter is not None and ray.is_initialized():
        node = ray.get_runtime_context().get_node_id()
        threading.Thread(target=_report, args=(meter, node), name=REPORTER, daemon=True).start()


def _report(meter: Meter, node: str) -> None:
    metrics = EnergyMetrics(meter.source)
    lock = socket.socket(socket.AF_UNIX)
    while True:
        try:
            lock.bind(f"\0dalle-serve-energy-{node}")  # of Linux, as the meters are: gone with its process
            break
        except OSError:
            time.sleep(EVERY_S)  # in a thread of its own; then another may have ended
    meter.joules()  # another one reported what was before
    while True:
        time.sleep(EVERY_S)  # the cadence of the counter
        try:
            joules = meter.joules()
        except Exception:  # the device is away; what it consumes counts when it is back
            continue
        metrics.consumed(joules)
