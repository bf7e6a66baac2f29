"""Renames and reshapes what other layouts hold into the trees of our models: unrolled layers, PyTorch CLIP.

Works on the index of a file only, before any array is read. Knows nothing of JAX, and of models only their names.

Provenance: dalle-mini writes its layers stacked (`use_scan`) or one by one; the CLIP names are those of `CLIPModel` and
`FlaxCLIPModel` in transformers 4.25.
"""

import re
from collections.abc import Mapping

from model_core.weights.weight_files import StoredArray

_ONE_LAYER = re.compile(r"layers/(FlaxBart(?:En|De)coderLayer)_(\d+)/")
_STACKED_LAYERS = re.compile(r"layers/(FlaxBart(?:En|De)coderLayer)s/")

Shape = tuple[int, ...]


def is_unrolled(index: Mapping[str, StoredArray]) -> bool:
    """Whether a DalleBart file holds its layers one by one."""
    return any(_ONE_LAYER.search(name) for name in index)


def unroll_shapes(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Gives the names and shapes that an unrolled file has, from those of the stacked tree."""
    unrolled = {}
    for name, shape in shapes.items():
        if _STACKED_LAYERS.search(name):
            for i in range(shape[0]):
                unrolled[_STACKED_LAYERS.sub(rf"layers/\g<1>_{i}/", name)] = shape[1:]
        else:
            unrolled[name] = shape
    return unrolled


def stack_layers(index: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
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


def clip_from_torch(index: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
    """Renames a PyTorch CLIP into the Flax tree, and notes which axes must be swapped.

    Linear [out, in] → kernel [in, out]; convolution [out, in, height, width] → kernel [height, width, in, out];
    embedding and norm weights keep their axes. `position_ids` are constants 0, 1, 2, … and are left out.
    Names that no CLIP has pass through, for the comparison with the model's tree to report.
    """
    return dict(
        _clip_leaf(name, stored) for name, stored in index.items() if not name.endswith(".embeddings.position_ids")
    )


def _clip_leaf(name: str, stored: StoredArray) -> tuple[str, StoredArray]:
    path = name.replace(".", "/")
    if not path.endswith("/weight"):
        return path, stored
    owner = path.removesuffix("/weight")
    if owner.endswith("_embedding") and len(stored.shape) == 2:
        return f"{owner}/embedding", stored
    if len(stored.shape) == 1:
        return f"{owner}/scale", stored
    axes = {2: (1, 0), 4: (2, 3, 1, 0)}.get(len(stored.shape))
    return f"{owner}/kernel", StoredArray(shape=stored.shape, parts=stored.parts, axes=axes)
