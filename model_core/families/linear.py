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


def product(x, kernel, dtype=None):
    """`x @ kernel`, summed up and returned in `dtype`, if given; on a CPU, a few rows take a way of their own.

    XLA's CPU backend copies the right side of a product piece by piece into the order that its inner loops want, and
    reads the left side as it lies. So the kernel goes to the left, and the rows, which are few, to the right: one pass
    over the kernel. Two rows go one after the other where the kernel stays in a core's cache in between. Best where
    `kernel` is the transpose of what lies in memory, as `turned` gives it.
    """
    many = partial(_many_rows, dtype)
    if x.shape[-2] != 1 and not 1 <= x.size // x.shape[-1] <= MOST_ROWS:
        return many(x, kernel)
    on_the_left = partial(_kernel_on_the_left, dtype=dtype)
    return jax.lax.platform_dependent(x, kernel, cpu=on_the_left, default=many)


dense = partial(nn.Dense, use_bias=False, dot_general=lambda x, kernel, *_dimensions, **_options: product(x, kernel))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _many_rows(dtype, x, kernel):
    """`x @ kernel`, with the kernel's gradient as one product of rows as they lie in memory.

    JAX's own rule takes that gradient transposed, and for it XLA's CPU backend turns what comes from behind, row by row
    inside of whatever made it.
    """
    return jnp.matmul(x, kernel, preferred_element_type=dtype)


def _keep_both(dtype, x, kernel):
    return _many_rows(dtype, x, kernel), (x, kernel)


def _gradients(_dtype, kept, slope):
    x, kernel = kept
    over_outputs, over_rows = (((slope.ndim - 1,), (1,)), ((), ())), (((0,), (0,)), ((), ()))
    rows, slopes = (each.reshape(-1, each.shape[-1]) for each in (x, slope))
    of_x = jax.lax.dot_general(slope, kernel, over_outputs, preferred_element_type=slope.dtype)
    of_kernel = jax.lax.dot_general(rows, slopes, over_rows, preferred_element_type=slope.dtype)
    return of_x.astype(x.dtype), of_kernel.astype(kernel.dtype)


_many_rows.defvjp(_keep_both, _gradients)


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
