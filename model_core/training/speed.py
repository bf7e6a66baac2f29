"""How fast a run goes, in `speed.jsonl`: rows a second, the share of what the devices could do (MFU), and the energy.

What its lines hold of time and energy adds up to that of the run, however often it was stopped (`footprint`).

Apart from the curves, which are the same however often a run is stopped: these depend on the machine and the hour. MFU
is model FLOPs utilisation (PaLM, arXiv:2204.02311, appendix B): the arithmetic that the model asks for, forwards and
backwards and without what is computed again, over the devices' peak in bfloat16. Energy is what all devices of the
machines consume, where something measures it on each of them (`model_core.energy`).
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from model_core.bench.machine import device_name
from model_core.bench.work import image_work
from model_core.energy import find_meter
from model_core.families.conditions import StepNumbers
from model_core.training import devices
from model_core.training.footprint import FILE, of_part

BACKWARDS = 2.0  # of the forward arithmetic: once for inputs, once for weights

# The end of a device's kind, as JAX names it → FLOP/s of one JAX device in bfloat16, as makers state them. A TPU v2 or
# v3 is two devices a chip.
PEAK_FLOPS = {
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
}


class Speed:
    """Counts rows between looks; the first look holds what compiling took. Every process has one, the first writes."""

    def __init__(self, folder: Path, row_flops: float):
        """Args: row_flops: of one row, forwards and backwards; 0 where that is not known."""
        self._path, self._row_flops = folder / FILE, row_flops
        self._rows, self._since = 0, time.monotonic()
        self._meter = find_meter()
        self._consumed = of_part(folder).joules
        self._device = device_name()

    def count(self, batch: Any) -> None:
        """Takes note of a batch: its leaves lead with the rows."""
        self._rows += len(jax.tree.leaves(batch)[0])

    def look(self, step: int) -> dict[str, float]:
        """Writes a line about the steps since the last look; all processes must ask.

        Returns:
          Rows a second and, where they are known, the MFU and the joules since the run began.
        """
        now = time.monotonic()
        seconds, rows = max(now - self._since, 1e-9), self._rows
        self._rows, self._since = 0, now
        line = {"step": step, "device": self._device, "seconds": seconds, "rows_per_s": rows / seconds}
        if (peak := peak_flops()) and self._row_flops:
            line["mfu"] = self._row_flops * rows / seconds / peak
        if (joules := devices.summed_over_machines(self._joules())) is not None:
            self._consumed += joules
            line |= {"joules": joules, "total_joules": self._consumed}
        if devices.is_first():
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return {name: line[name] for name in ("rows_per_s", "mfu", "total_joules") if name in line}

    def _joules(self) -> float | None:
        """Of this machine since the last look; None where nothing measures it, or the meter is away for a moment."""
        try:
            return self._meter.joules() if self._meter else None
        except Exception:  # a meter's library may raise anything, and training goes on without
            return None


def peak_flops() -> float | None:
    """FLOP/s of all devices together in bfloat16; None where one is not in the table, as a CPU is not."""
    kinds = [device.device_kind for device in jax.devices()]
    peaks = [next((peak for name, peak in PEAK_FLOPS.items() if name in kind), None) for kind in kinds]
    return None if None in peaks else float(sum(peak for peak in peaks if peak))


def row_flops(numbers: StepNumbers, num_codes: int, text_weights: int, text_length: int) -> float:
    """The arithmetic of one row of a batch, forwards and backwards; a multiply-add counts two.

    Args:
      numbers: of the family's steps.
      text_weights: weights of the products that every text token goes through.
    """
    forwards = image_work(numbers, 4, 1, np.arange(num_codes)).num_flops + 2.0 * text_weights * text_length
    return (1 + BACKWARDS) * forwards
