"""Dense layers for steps of a few positions a row, laid out as each kind of device reads them fastest.

On a CPU kernels lie transposed, [out, in], and go to the left of the product. On an accelerator kernels that read the
same input are fused into one. What is traced looks like any dense layer; the layout is chosen when weights are placed.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

SMALL_KERNEL = 2**18  # numbers
MOST_ROWS = 32  # of several positions each, that are better on the right


def product(x, kernel, dimension_numbers, **options):
    """`lax.dot_general` for a dense layer; on a CPU, a few rows take a way of their own.

    XLA's CPU backend copies the right side of a product piece by piece into the order that its inner loops want, and
    reads the left side as it lies. So the kernel goes to the left, and the rows, which are few, to the right: one pass
    over the kernel. Two rows go one after the other where the kernel stays in a core's cache in between. Best where
    `kernel` is the transpose of what lies in memory, as `turned` gives it.
    """
    multiply = partial(jax.lax.dot_general, dimension_numbers=dimension_numbers, **options)
    if x.shape[-2] != 1 and not 1 <= x.size // x.shape[-1] <= MOST_ROWS:
        return multiply(x, kernel)
    on_the_left = partial(_kernel_on_the_left, dtype=options.get("preferred_element_type"))
    return jax.lax.platform_dependent(x, kernel, cpu=on_the_left, default=multiply)


dense = partial(nn.Dense, use_bias=False, dot_general=product)


def _kernel_on_the_left(x, kernel, dtype):
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) == 1 or (len(rows) == 2 and kernel.size <= SMALL_KERNEL):
        products = [jnp.matmul(kernel.T, row, preferred_element_type=dtype) for row in rows]
        return jnp.stack(products).reshape(*x.shape[:-1], kernel.shape[-1])
    columns = jnp.einsum("do,rd->or", kernel, rows, preferred_element_type=dtype)
    columns = jax.lax.optimization_barrier(columns)  # or XLA would turn the product around again
    return columns.T.reshape(*x.shape[:-1], kernel.shape[-1])


@jax.jit
def turned(kernels: Any) -> Any:
    """Kernels the other way round; norms, which have one axis, as they are. Inside `jit` it costs nothing."""
    return jax.tree.map(jnp.transpose, kernels)


def fused(layers: dict[str, Any], name: str, parts: tuple[str, ...]) -> dict[str, Any]:
    """Joins dense layers that read the same input along their outputs: `parts`, in order, become `name`."""
    kernels = [layers[part]["kernel"] for part in parts]
    others = {other: layer for other, layer in layers.items() if other not in parts}
    return others | {name: {"kernel": jnp.concatenate(kernels, axis=-1)}}
