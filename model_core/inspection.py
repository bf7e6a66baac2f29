"""Looks at what a model needs and what there is, without drawing: JAX's devices, a model's parts and their memory.

`python -m model_core.inspection MODEL` prints it as JSON. To be run in a process of its own, for a driver that hangs or
a machine without enough memory takes that process and not the one that asks. Knows nothing of the service.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import jax

from model_core.errors import DalleServeError
from model_core.weights import bundles, checkpoint

LOADERS = {
    "dalle_bart": checkpoint.load_dalle_bart,
    "vqgan": checkpoint.load_vqgan,
    "clip": checkpoint.load_clip,
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


def describe_part(name: str, folder: Path, dtype: str = "float32") -> dict[str, Any]:
    """Loads one part of a model: `num_params`, `bytes` in memory, `seconds` it took.

    Raises:
      CheckpointError: it cannot be used.
    """
    began = time.monotonic()
    _, params = LOADERS[name](folder, dtype)
    leaves = jax.tree.leaves(params)
    return {
        "num_params": sum(leaf.size for leaf in leaves),
        "bytes": sum(leaf.nbytes for leaf in leaves),
        "seconds": round(time.monotonic() - began, 2),
    }


def describe(model: str) -> dict[str, Any]:
    """Devices, parts, and `process_bytes`: the memory of a process before it has loaded anything."""
    bundle = bundles.resolve(model)
    found: dict[str, Any] = {"devices": describe_devices(), "process_bytes": _peak_bytes(), "parts": {}}
    for name in LOADERS:
        if folder := getattr(bundle, name):
            found["parts"][name] = describe_part(name, folder)
    return found


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    try:
        print(json.dumps(describe(sys.argv[1])))
    except DalleServeError as error:
        sys.exit(str(error))
