"""What the devices of a node consume, as a counter of joules: one reporter on each node, whichever replica comes first.

Where nothing measures (`model_core.energy`), nothing is reported.
"""

import socket
import threading
import time

import ray

from deployments.telemetry.metrics import EnergyMetrics
from model_core.energy import Meter, find_meter

REPORTER = "energy"  # its thread
EVERY_S = 10.0


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
