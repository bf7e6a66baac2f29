"""PyTorch's names and axes → Flax's, on the index of a file, before any array is read."""

from collections.abc import Callable

from model_core.weights.weight_files import StoredArray

_KERNEL_AXES = {2: (1, 0), 4: (2, 3, 1, 0)}


def to_flax(name: str, stored: StoredArray, is_table: Callable[[str], bool]) -> tuple[str, StoredArray]:
    """Gives an array the name that Flax has for it, and notes which axes must be swapped.

    Linear [out, in] → kernel [in, out]; convolution [out, in, height, width] → kernel [height, width, in, out], which
    is also how a transposed one [in, out, height, width] becomes that of `nn.ConvTranspose(transpose_kernel=True)`;
    weights of one axis are scales of norms. Biases and what has no such name keep name and axes.

    Args:
      name: the parts joined with "." or "/"; they come back joined with "/".
      is_table: says by the owner's path whether a weight of two axes is a table of embeddings, which keeps its axes.
    """
    path = name.replace(".", "/")
    owner = path.removesuffix("/weight")
    if owner == path:
        return path, stored
    if len(stored.shape) == 2 and is_table(owner):
        return f"{owner}/embedding", stored
    if len(stored.shape) == 1:
        return f"{owner}/scale", stored
    axes = _KERNEL_AXES.get(len(stored.shape))
    return f"{owner}/kernel", StoredArray(shape=stored.shape, parts=stored.parts, axes=axes)
