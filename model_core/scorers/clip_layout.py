"""PyTorch's CLIP → our tree, on the index of its file: names, and axes to be swapped, before any array is read.

Provenance: the names are those of `CLIPModel` and `FlaxCLIPModel` in transformers 4.25.
"""

from pathlib import Path

from model_core.weights.weight_files import Index, Shapes, StoredArray


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Renames what a safetensors file holds; other files are Flax's, whose names are ours."""
    return from_torch(index) if path.suffix == ".safetensors" else index


def from_torch(index: Index) -> dict[str, StoredArray]:
    """Renames a PyTorch CLIP into the Flax tree, and notes which axes must be swapped.

    Linear [out, in] → kernel [in, out]; convolution [out, in, height, width] → kernel [height, width, in, out];
    embedding and norm weights keep their axes. `position_ids` are constants 0, 1, 2, … and are left out.
    Names that no CLIP has pass through, for the comparison with the model's tree to report.
    """
    return dict(
        _renamed(name, stored) for name, stored in index.items() if not name.endswith(".embeddings.position_ids")
    )


def _renamed(name: str, stored: StoredArray) -> tuple[str, StoredArray]:
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
