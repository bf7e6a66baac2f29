"""Gradients of a mean loss in less memory: piece by piece, and in half of the bits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from model_core.errors import InvalidValue

DTYPES = ("auto", "float32", "bfloat16")


def mean_gradient(
    loss_fn: Callable[[Any, Any], Float[Array, ""]], params: Any, batch: Any, *, pieces: int = 1, dtype: str = "float32"
) -> tuple[Float[Array, ""], Any]:
    """The loss of a batch and its gradient in float32, by (params, batch) -> mean over the rows of the batch.

    Args:
      batch: a tree of arrays with the same number of rows.
      pieces: the batch is cut into so many equal ones, taken one after another: the memory is that of one.
      dtype: what the loss is computed in; "auto" is bfloat16 on accelerators and float32 on CPUs.

    Raises:
      InvalidValue: the rows cannot be shared out equally, or there is no such dtype.
    """
    if dtype not in DTYPES:
        raise InvalidValue(f"dtype is {dtype!r}; there are {', '.join(DTYPES)}.", "dtype")
    is_half = dtype == "bfloat16" or (dtype == "auto" and jax.default_backend() != "cpu")
    compute = jnp.bfloat16 if is_half else jnp.float32

    def computed(params: Any, batch: Any) -> Float[Array, ""]:
        return loss_fn(jax.tree.map(lambda leaf: leaf.astype(compute), params), batch).astype(jnp.float32)

    gradient = jax.value_and_grad(computed)
    rows = len(jax.tree.leaves(batch)[0])
    if pieces < 1 or rows % pieces:
        raise InvalidValue(f"a batch of {rows} cannot be cut into {pieces} equal pieces.", "accumulation")
    if pieces == 1:
        return gradient(params, batch)
    # Each piece has every so many-th row: rows that are shared out over devices are so in every piece, too.
    cut = jax.tree.map(lambda leaf: leaf.reshape(rows // pieces, pieces, *leaf.shape[1:]).swapaxes(0, 1), batch)

    def add(total: Any, piece: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(params, piece)), None

    nothing = jnp.zeros(()), jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), params)
    total, _ = jax.lax.scan(add, nothing, cut)
    return jax.tree.map(lambda leaf: leaf / pieces, total)
