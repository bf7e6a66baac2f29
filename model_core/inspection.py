"""Looks at what a model needs and what there is, without drawing: JAX's devices, a model's parts and their memory.

`python -m model_core.inspection MODEL` prints it as JSON. To be run in a process of its own, for a driver that hangs or
a machine without enough memory takes that process and not the one that asks.
"""

import argparse
import json
import math
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from model_core import bundles, codecs, families, scorers
from model_core.errors import DalleServeError, ModelNotFound
from model_core.sampler.rows import PARTS
from model_core.weights import checkpoint

# What the stage of each role loads.
LOAD = {
    "text": partial(families.load, role="text"),
    "sampler": partial(families.load, role="sampler"),
    "codec": codecs.load,
    "scorer": scorers.load,
}
ROWS_OF_SLOT = 2  # an image under guidance
LOADING = 1.3  # times the weights: what loading them takes at most


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


def memory_of(network: Any, config: Any, role: str, dtype: str = "float32") -> dict[str, int]:
    """Tells by shapes alone what the stage of a role holds: `num_params`, and `bytes` of these weights.

    Of a sampler also `slot_bytes`, what an image under guidance takes beside them, and `text_bytes`, what is kept of a
    text.
    """
    kind = checkpoint.float_dtype(dtype)
    shapes: dict[str, Any] = dict(traverse_util.flatten_dict(dict(network.param_shapes(config)), sep="/"))
    is_of_family = role in ("text", "sampler")
    kept = {
        name: jax.ShapeDtypeStruct(leaf.shape, kind)
        for name, leaf in shapes.items()
        if not is_of_family or network.role_of(name) == role
    }
    num_params = sum(leaf.size for leaf in kept.values())
    found = {"num_params": num_params, "bytes": num_params * kind.itemsize}
    if role == "sampler":
        found |= _kept_by_a_sampler(network, config, traverse_util.unflatten_dict(kept, sep="/"))
    return found


def stage_bytes(stage: str, model: str, *, dtype: str = "float32", slots: int = 0, scorer: str | None = None) -> int:
    """What a model's stage, by its name in settings, takes: its weights, and what a sampler keeps for each slot.

    Raises:
      DalleServeError: as `bundles.resolve`; or the model has no such part.
    """
    role = {"text_encoder": "text", "token_sampler": "sampler", "image_decoder": "codec", "clip_scorer": "scorer"}[
        stage
    ]
    folder = getattr(bundles.resolve(model, scorer=scorer), role)
    if folder is None:
        raise ModelNotFound(f"{model} has no {role}.")
    network = bundles.ROLES[role].of_folder(folder)
    found = memory_of(network, network.read_config(folder), role, dtype)
    return found["bytes"] + slots * (found.get("slot_bytes", 0) + found.get("text_bytes", 0))


def describe_part(role: str, folder: Path, dtype: str = "float32", room: float = math.inf) -> dict[str, Any]:
    """Looks at what one stage has of a model, and loads it where it fits into `room` bytes.

    Its files are compared with its configuration in any case, names and shapes, without reading the arrays.

    Returns:
      What `memory_of` gives, and `seconds` that loading took; None where it was not tried.

    Raises:
      CheckpointError: it cannot be used.
    """
    network = bundles.ROLES[role].of_folder(folder)
    checkpoint.check(network, folder)
    found: dict[str, Any] = memory_of(network, network.read_config(folder), role, dtype)
    began = time.monotonic()
    fits = LOADING * found["bytes"] <= room
    if fits:
        jax.block_until_ready(LOAD[role](folder, dtype)[2])
    return found | {"seconds": round(time.monotonic() - began, 2) if fits else None}


def _kept_by_a_sampler(family: Any, config: Any, params: Any) -> dict[str, int]:
    shape = config.condition_shape
    values = jax.ShapeDtypeStruct((1, *shape), np.float32 if len(shape) > 1 else np.int32)  # states, or ids
    mask = jax.ShapeDtypeStruct((1, shape[0]), np.int32)

    def slot(tree: Any) -> list[Any]:
        return jax.tree.leaves(family.empty(config, family.step_weights(tree), ROWS_OF_SLOT, PARTS))

    def text(tree: Any, *of: Any) -> list[Any]:
        return jax.tree.leaves(family.read_text(config, family.step_weights(tree), *of))

    return {
        "slot_bytes": _num_bytes(jax.eval_shape(slot, params)),
        "text_bytes": _num_bytes(jax.eval_shape(text, params, values, mask)),
    }


def _num_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def describe(model: str, scorer: str | None = None, room: float = math.inf) -> dict[str, Any]:
    """Devices, parts by role, and `process_bytes`: the memory of a process before it has loaded anything.

    Args:
      scorer: as in `bundles.resolve`.
      room: bytes that may be taken; a device with less memory of its own sets the limit.
    """
    bundle = bundles.resolve(model, scorer=scorer)
    devices = describe_devices()
    room = min(room, devices[0]["memory_bytes"] or math.inf)
    found: dict[str, Any] = {"devices": devices, "process_bytes": peak_bytes(), "parts": {}}
    for role in LOAD:
        if folder := getattr(bundle, role):
            found["parts"][role] = describe_part(role, folder, room=room)
    return found


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--scorer")
    parser.add_argument("--room", type=float, default=math.inf)
    try:
        print(json.dumps(describe(**vars(parser.parse_args()))))
    except DalleServeError as error:
        sys.exit(str(error))
