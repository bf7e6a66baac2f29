"""Training on several devices or hosts: every device takes its rows of each batch, and all hold the same parameters.

Every process makes the whole batch, which depends on seed and step alone, and hands its own devices their rows; XLA
adds up the gradients. So the curve is that of one process with the same batch. Processes share the run's folder, and
the first of them writes.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from model_core.errors import InvalidValue


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


def agree(flag: bool) -> bool:
    """Whether any process says so; all of them must ask."""
    return flag if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.array(flag)).any())


def replicate(tree: Any) -> Any:
    """The same arrays on every device of every process."""
    return _place(tree, PartitionSpec())


def split(batch: Any) -> Any:
    """A batch whose rows are shared out over all devices; a part of it that cannot be shared equally is replicated."""
    return _place(batch, PartitionSpec("rows"))


def _place(tree: Any, spec: PartitionSpec) -> Any:
    if jax.device_count() == 1:
        return tree
    mesh = Mesh(np.array(jax.devices()), ("rows",), axis_types=(AxisType.Auto,))

    def place(leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        fits = array.ndim > 0 and array.shape[0] % jax.device_count() == 0
        sharding = NamedSharding(mesh, spec if fits else PartitionSpec())
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(place, tree)
