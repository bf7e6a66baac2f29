"""PyTorch's CLIP → our tree, on the index of its file: names, and axes to be swapped, before any array is read.

Provenance: the names are those of `CLIPModel` and `FlaxCLIPModel` in transformers 4.25.
"""

from pathlib import Path

from model_core.weights.torch_names import to_flax
from model_core.weights.weight_files import Index, Shapes, StoredArray


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Renames what a safetensors file holds; other files are Flax's, whose names are ours."""
    return from_torch(index) if path.suffix == ".safetensors" else index


def from_torch(index: Index) -> dict[str, StoredArray]:
    """Renames a PyTorch CLIP into the Flax tree, and notes which axes must be swapped.

    `position_ids` are constants 0, 1, 2, … and are left out. Names that no CLIP has pass through, for the comparison
    with the model's tree to report.
    """
    return dict(
        to_flax(name, stored, lambda owner: owner.endswith("_embedding"))
        for name, stored in index.items()
        if not name.endswith(".embeddings.position_ids")
    )
