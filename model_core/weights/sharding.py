"""One DalleBart over several devices: which axis of each array is cut, and arrays put there piece by piece.

Tensor parallelism after Megatron-LM (arXiv:1909.08053): products that widen are cut along their outputs, the products
behind them along their inputs, so that heads and gates stay whole on one device and a layer needs three sums across
devices. XLA's partitioner puts those in, from the placement of weights and caches alone; no model file knows of a mesh.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from model_core.errors import InvalidValue

Rows = TypeVar("Rows")

AXIS = "model"

# The end of an array's name → which of its axes is cut, counted from the last. The first line that fits is taken.
_CUT_AXES: tuple[tuple[str, int | None], ...] = (
    (r"(q_proj|k_proj|v_proj)/kernel", -1),  # [D, H·K]: by heads
    (r"out_proj/kernel", -2),  # [H·K, D]
    (r"Dense_[01]/kernel", -1),  # [D, F]
    (r"Dense_2/kernel", -2),  # [F, D]
    (r"lm_head/kernel", -1),  # [D, V]
    (r"embedding", -1),  # [V or positions, D]
    (r"(bias|scale)", None),  # of norms: small
)


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


def param_sharding(mesh: Mesh, name: str, shape: Sequence[int]) -> NamedSharding:
    """Says how an array is cut. One whose axis does not divide by the number of devices is whole on each of them.

    Args:
      name: its path in the published tree, joined with "/"; leading axes, such as that of stacked layers, stay whole.

    Raises:
      InvalidValue: no rule knows the name.
    """
    for pattern, axis in _CUT_AXES:
        if re.search(rf"(^|/){pattern}$", name):
            return _cut(mesh, shape, axis)
    raise InvalidValue(f"No rule says how to place {name} on several devices.")


def placer(mesh: Mesh) -> Callable[[str, np.ndarray], jax.Array]:
    """Makes what `checkpoint.load_params` takes to send each array straight to its devices, as pieces."""
    return lambda name, array: jax.device_put(array, param_sharding(mesh, name, array.shape))


def place_params(mesh: Mesh, params: dict[str, Any]) -> dict[str, Any]:
    """Puts a tree that is already in memory on the devices of `mesh`."""
    place = placer(mesh)
    named: dict[str, Any] = dict(traverse_util.flatten_dict(params, sep="/"))
    return traverse_util.unflatten_dict({name: place(name, leaf) for name, leaf in named.items()}, sep="/")


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
    if axis is None or shape[axis] % mesh.size:
        return NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, PartitionSpec(*[None] * (len(shape) + axis), AXIS))
