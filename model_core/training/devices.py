"""Training on several devices or hosts, data × model: rows of each batch are shared out, and so may arrays be.

The devices stand in a grid. Along `data` every one takes its rows of each batch; along `model` arrays are cut as the
family's own table says (`CUT_AXES`), and the optimizer's and the averaged parameters with them. XLA puts the sums
across devices in. Every process makes the whole batch, which depends on seed and step alone, and hands its own devices
their rows, so the curve is that of one device with the same batch. Processes share the run's folder, and the first of
them writes.
"""

import socket
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from model_core.errors import InvalidValue
from model_core.weights.sharding import AXIS, CutAxes, param_sharding


def connect(coordinator: str, num_processes: int, process: int) -> None:
    """Makes this process one of several; call it before anything else is done with JAX.

    Args:
      coordinator: host:port of process 0, the same for all.

    Raises:
      InvalidValue: the numbers do not fit together.
    """
    if not 0 <= process < num_processes:
        raise InvalidValue(f"process must be 0 to {num_processes - 1}; got {process}.", "process")
    jax.distributed.initialize(coordinator, num_processes, process)


def is_first() -> bool:
    """Whether this process is the one that writes and reports."""
    return jax.process_index() == 0


def wait_for_all() -> None:
    """Returns when every process has come here: what the first wrote before is there for all."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("training")


def agree(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether any process says so; all of them must ask."""
    if jax.process_count() == 1:
        return flags
    return tuple(multihost_utils.process_allgather(np.array(flags)).any(axis=0).tolist())


def summed_over_machines(value: float | None) -> float | None:
    """The sum of what the machines say of themselves, each once however many processes it has; all must ask.

    None where any of them says nothing.
    """
    if jax.process_count() == 1:
        return value
    machine = np.int32(zlib.crc32(socket.gethostname().encode()) & 0x7FFFFFFF)
    said = np.float32(np.nan if value is None else value)
    machines, values = multihost_utils.process_allgather((machine, said))
    total = sum(dict(zip(machines.tolist(), values.tolist(), strict=True)).values())
    return None if np.isnan(total) else total


@cache
def make_mesh(model_parallel: int = 1) -> Mesh:
    """All devices of all processes, `model_parallel` of them to each copy of the model.

    Raises:
      InvalidValue: the devices cannot be shared out so.
    """
    count = jax.device_count()
    if model_parallel < 1 or count % model_parallel:
        raise InvalidValue(
            f"model_parallel is {model_parallel}; it must divide the number of devices, which is {count}.",
            "model_parallel",
        )
    grid = np.array(jax.devices()).reshape(-1, model_parallel)
    return Mesh(grid, ("data", AXIS), axis_types=(AxisType.Auto,) * 2)


def state_placer(state: Any, cut_axes: CutAxes | None, model_parallel: int) -> Callable[[Any], Any]:
    """Puts a state like `state` on the devices, wherever it lies; one that lies there already stays where it is.

    Args:
      cut_axes: of the family whose parameters `state["params"]` are; None leaves every array whole on each device.
    """
    if jax.device_count() == 1:
        return lambda state: state
    mesh = make_mesh(model_parallel)
    whole = NamedSharding(mesh, PartitionSpec())
    params = {_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(state["params"])}
    rules = {} if cut_axes is None or model_parallel == 1 else params
    cut = {name: param_sharding(mesh, cut_axes or (), name, shape) for name, shape in rules.items()}

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        """That of the parameter whose name this one ends in, if it has the parameter's shape."""
        parts = _name(path).split("/")
        names = ("/".join(parts[i:]) for i in range(len(parts)))
        name = next((name for name in names if name in cut), None)
        return cut[name] if name and params[name] == np.shape(leaf) else whole

    shardings = jax.tree_util.tree_map_with_path(sharding, state)
    return lambda state: jax.tree.map(_put, state, shardings)


def on_host() -> AbstractContextManager[Any]:
    """Where a state is made or read: in the host's memory where there is a mesh, for no device of it may hold all."""
    if jax.device_count() == 1:
        return nullcontext()
    return jax.default_device(jax.local_devices(backend="cpu")[0])


def split(batch: Any, model_parallel: int = 1) -> Any:
    """A batch whose rows are shared out along `data`; a part that cannot be shared equally is whole on every device."""
    if jax.device_count() == 1:
        return batch
    mesh = make_mesh(model_parallel)
    rows, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec()))

    def place(leaf: Any) -> jax.Array:
        fits = np.ndim(leaf) > 0 and len(leaf) % mesh.shape["data"] == 0
        return _put(leaf, rows if fits else whole)

    return jax.tree.map(place, batch)


def gathered(state: Any) -> Any:
    """A copy of the state as numpy arrays in every process, whatever its placement; all processes must ask."""

    def gather(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable and not leaf.is_fully_replicated:
            return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
        return np.array(jax.device_get(leaf))  # on a CPU it would be the device's own memory, which the next step takes

    return jax.tree.map(gather, state)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
        return leaf
    if isinstance(leaf, jax.Array) and (jax.process_count() == 1 or not leaf.is_fully_addressable):
        return jax.device_put(leaf, sharding)
    array = np.asarray(leaf)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
