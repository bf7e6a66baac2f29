"""Published files → our tree: layers that were written one by one are stacked, on the index of the file alone.

Provenance: dalle-mini writes its layers stacked (`use_scan`) or one by one.
"""

import re
from pathlib import Path

from model_core.weights.weight_files import Index, Shapes, StoredArray, check_index

_ONE_LAYER = re.compile(r"layers/(FlaxBart(?:En|De)coderLayer)_(\d+)/")
_STACKED_LAYERS = re.compile(r"layers/(FlaxBart(?:En|De)coderLayer)s/")


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Stacks the layers of an unrolled file; a stacked one is as it should be.

    Raises:
      CheckpointMismatch: an unrolled file is not complete; it names the arrays as the file does.
    """
    if not is_unrolled(index):
        return index
    check_index(path, index, unroll_shapes(shapes))
    return stack_layers(index)


def is_unrolled(index: Index) -> bool:
    """Whether a file holds its layers one by one."""
    return any(_ONE_LAYER.search(name) for name in index)


def unroll_shapes(shapes: Shapes) -> Shapes:
    """Gives the names and shapes that an unrolled file has, from those of the stacked tree."""
    unrolled = {}
    for name, shape in shapes.items():
        if _STACKED_LAYERS.search(name):
            for i in range(shape[0]):
                unrolled[_STACKED_LAYERS.sub(rf"layers/\g<1>_{i}/", name)] = shape[1:]
        else:
            unrolled[name] = shape
    return unrolled


def stack_layers(index: Index) -> dict[str, StoredArray]:
    """Puts the layers of an unrolled file one after another: a stacked array is its layers' bytes in order.

    Args:
      index: complete, as `unroll_shapes` has it.
    """
    stacked: dict[str, StoredArray] = {}
    rows: dict[str, dict[int, StoredArray]] = {}
    for name, stored in index.items():
        layer = _ONE_LAYER.search(name)
        if layer is None:
            stacked[name] = stored
        else:
            rows.setdefault(_ONE_LAYER.sub(r"layers/\1s/", name), {})[int(layer[2])] = stored
    for name, by_layer in rows.items():
        layers = [by_layer[i] for i in range(len(by_layer))]
        parts = tuple(part for stored in layers for part in stored.parts)
        stacked[name] = StoredArray(shape=(len(layers), *layers[0].shape), parts=parts)
    return stacked
