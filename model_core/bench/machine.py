"""This machine in numbers: how fast it reads memory, how fast it multiplies, how much memory was used.

Both rates are measured by programs of the same compiler on all threads, as a roofline wants them (Williams et al. 2009,
"Roofline: an insightful visual performance model").
"""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp

from model_core.inspection import peak_bytes

READ_BYTES = 2**30
REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where something was measured.

    Attributes:
      processor: as the operating system names it.
      threads: that this process may run on.
      read_bytes_per_s: best of five reads of 1 GiB, as a step of one row reads weights: matrix times vector.
      flops_per_s: best of five square matrix products in the dtype of the model; a multiply-add counts two.
      product_side: of those matrices.
    """

    processor: str
    device: str
    threads: int
    jax_version: str
    read_bytes_per_s: float
    flops_per_s: float
    product_side: int

    def seconds(self, num_bytes: float, num_flops: float) -> float:
        """The least time in which so much can be read and computed here, each at its own full rate."""
        return max(num_bytes / self.read_bytes_per_s, num_flops / self.flops_per_s)


def measure(dtype: str) -> Machine:
    """Measures both rates. Takes 1 GiB of memory and a few seconds."""
    device = jax.devices()[0]
    side = 2048 if device.platform == "cpu" else 8192  # of the square product: accelerators need more to be busy
    weights, vector, apply = jnp.zeros((READ_BYTES // 4096, 1024), jnp.float32), jnp.ones(1024), jax.jit(jnp.matmul)
    read_s = min(times_s(lambda: apply(weights, vector).block_until_ready(), REPEATS))
    matrix = jnp.full((side, side), 0.5, dtype)
    multiply_s = min(times_s(lambda: apply(matrix, matrix).block_until_ready(), REPEATS))
    return Machine(
        processor=_processor(),
        device=f"{len(jax.devices())} x {device.device_kind}" if device.platform != "cpu" else "cpu",
        threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        jax_version=jax.__version__,
        read_bytes_per_s=READ_BYTES / read_s,
        flops_per_s=2 * side**3 / multiply_s,
        product_side=side,
    )


def device_name() -> str:
    """What computes here: the accelerators, such as "2 x NVIDIA H100", else the processor as the system names it."""
    device = jax.devices()[0]
    return _processor() if device.platform == "cpu" else f"{jax.device_count()} x {device.device_kind}"


def peak_memory_bytes() -> int:
    """The most memory used so far: of the accelerator where there is one, else of this process."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use") or peak_bytes()


def times_s(work: Callable[[], object], repeats: int) -> list[float]:
    """How long `work` takes, which must wait for its own result, after one run that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
