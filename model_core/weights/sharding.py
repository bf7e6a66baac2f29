"""One network over several devices: arrays are cut as its own table says, and put there piece by piece.

XLA's partitioner puts the sums across devices in, from the placement of weights and caches alone: no network knows of a
mesh.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from model_core.errors import InvalidValue

Rows = TypeVar("Rows")

AXIS = "model"

# The end of an array's name, as a regular expression → which of its axes is cut, counted from the last; None: it is
# whole on every device. The first line that fits is taken.
CutAxes = Sequence[tuple[str, int | None]]


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Puts the first `num_devices` of this process's devices in a row, or all.

    Raises:
      InvalidValue: there are not so many.
    """
    devices = jax.devices()
    count = len(devices) if num_devices is None else num_devices
    if not 1 <= count <= len(devices):
        raise InvalidValue(f"num_devices is {count}; there are {len(devices)} here, of which 1 or more.", "num_devices")
    return Mesh(np.array(devices[:count]), (AXIS,), axis_types=(AxisType.Auto,))


def param_sharding(mesh: Mesh, cut_axes: CutAxes, name: str, shape: Sequence[int]) -> NamedSharding:
    """Says how an array is cut. One whose axis does not divide by the number of devices is whole on each of them.

    Args:
      name: its path in the published tree, joined with "/"; leading axes, such as that of stacked layers, stay whole.

    Raises:
      InvalidValue: no rule knows the name.
    """
    for pattern, axis in cut_axes:
        if re.search(rf"(^|/){pattern}$", name):
            return _cut(mesh, shape, axis)
    raise InvalidValue(f"No rule says how to place {name} on several devices.")


def placer(mesh: Mesh, cut_axes: CutAxes) -> Callable[[str, np.ndarray], jax.Array]:
    """Makes what `checkpoint.load` takes to send each array straight to its devices, as pieces."""
    return lambda name, array: jax.device_put(array, param_sharding(mesh, cut_axes, name, array.shape))


def mesh_of(params: Any) -> Mesh | None:
    """Tells the devices that a tree was placed on; None where it lies on one, as JAX puts it there."""
    placed = (leaf.sharding for leaf in jax.tree.leaves(params))
    meshes = (one.mesh for one in placed if isinstance(one, NamedSharding))
    return next((mesh for mesh in meshes if isinstance(mesh, Mesh)), None)


def place_rows(mesh: Mesh | None, rows: Rows) -> Rows:
    """Puts keys and values on the devices that hold their heads; the rest is whole on each.

    To be done before the first step: XLA keeps what it is given, so every later step finds the same placement and
    nothing compiles again.

    Args:
      mesh: None leaves everything where it is.
      rows: any tree of arrays; those with four axes are keys and values [R, H, S, K].
    """
    if mesh is None:
        return rows

    def place(leaf: jax.Array) -> jax.Array:
        return jax.device_put(leaf, _cut(mesh, leaf.shape, -3 if leaf.ndim == 4 else None))

    return jax.tree.map(place, rows)


def _cut(mesh: Mesh, shape: Sequence[int], axis: int | None) -> NamedSharding:
    if axis is None or shape[axis] % mesh.shape[AXIS]:
        return NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, PartitionSpec(*[None] * (len(shape) + axis), AXIS))
