"""Looks at what a model needs and what there is, without drawing: JAX's devices, a model's parts and their memory.

`python -m model_core.inspection MODEL` prints it as JSON. To be run in a process of its own, for a driver that hangs or
a machine without enough memory takes that process and not the one that asks. Knows nothing of the service.
"""

import json
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax

from model_core import bundles, codecs, families, scorers
from model_core.errors import DalleServeError

# What the stage of each role loads.
LOAD = {
    "text": partial(families.load, role="text"),
    "sampler": partial(families.load, role="sampler"),
    "codec": codecs.load,
    "scorer": scorers.load,
}


def describe_devices() -> list[dict[str, Any]]:
    """Names JAX's devices: `platform`, `kind`, and `memory_bytes` where the device says how much it has."""
    return [
        {
            "platform": device.platform,
            "kind": device.device_kind,
            "memory_bytes": (device.memory_stats() or {}).get("bytes_limit"),
        }
        for device in jax.devices()
    ]


def describe_part(role: str, folder: Path, dtype: str = "float32") -> dict[str, Any]:
    """Loads what one stage needs of a model: `num_params`, `bytes` in memory, `seconds` it took.

    Raises:
      CheckpointError: it cannot be used.
    """
    began = time.monotonic()
    _, _, params = LOAD[role](folder, dtype)
    leaves = jax.tree.leaves(params)
    return {
        "num_params": sum(leaf.size for leaf in leaves),
        "bytes": sum(leaf.nbytes for leaf in leaves),
        "seconds": round(time.monotonic() - began, 2),
    }


def describe(model: str) -> dict[str, Any]:
    """Devices, parts by role, and `process_bytes`: the memory of a process before it has loaded anything."""
    bundle = bundles.resolve(model)
    found: dict[str, Any] = {"devices": describe_devices(), "process_bytes": peak_bytes(), "parts": {}}
    for role in LOAD:
        if folder := getattr(bundle, role):
            found["parts"][role] = describe_part(role, folder)
    return found


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    try:
        print(json.dumps(describe(sys.argv[1])))
    except DalleServeError as error:
        sys.exit(str(error))
