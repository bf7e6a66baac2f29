"""Published names → our tree, on the index of the files alone: what `blocks` takes as one product is put together.

Products lie as PyTorch wrote them, so that what is put together are runs of rows, and no array is ever there twice.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model_core.weights.weight_files import FLOAT_DTYPES, Index, Shapes, StoredArray, check_index


class Names(NamedTuple):
    """How a published file names a sampler's arrays.

    Attributes:
      layer: in front of the names of one layer, "{}" for its number.
      queries_keys_values: in a layer: three products, or one of all three.
      of_layer: in a layer, ours → the file's, for what is one array in both; "gate" and "up" among them.
      others: ours → the file's.
    """

    layer: str
    queries_keys_values: tuple[str, ...]
    of_layer: Mapping[str, str]
    others: Mapping[str, str]


def layout(path: Path, index: Index, shapes: Shapes, names: Names) -> Index:
    """Turns the names of a file into those of `shapes`.

    Raises:
      CheckpointMismatch: arrays are missing, unexpected or misshapen; it names them as the file does.
    """
    check_index(path, index, published_shapes(shapes, names))
    ours = {ours: index[theirs] for ours, theirs in names.others.items()}
    for i in range(_num_layers(shapes)):
        prefix, layer = f"layers/{i}/", names.layer.format(i)
        stored = {ours: index[layer + theirs] for ours, theirs in names.of_layer.items()}
        gate, up = stored.pop("gate"), stored.pop("up")
        ours |= {prefix + name: array for name, array in stored.items()}
        ours[prefix + "gate_up"] = _in_groups((gate, up), (1, 1), shapes[prefix + "gate_up"])
        parts = [index[layer + name] for name in names.queries_keys_values]
        ours[prefix + "qkv"] = _heads_in_groups(parts, shapes[prefix + "qkv"])
    return ours


def published_shapes(shapes: Shapes, names: Names) -> Shapes:
    """Gives the names and shapes that the file has, from those of our tree."""
    published = {theirs: shapes[ours] for ours, theirs in names.others.items()}
    for i in range(_num_layers(shapes)):
        prefix, layer = f"layers/{i}/", names.layer.format(i)
        groups, per_group, head, width = shapes[prefix + "qkv"]
        queries, keys = groups * (per_group - 2) * head, groups * head
        sides = (queries, keys, keys) if len(names.queries_keys_values) == 3 else (queries + 2 * keys,)
        published |= {layer + name: (s, width) for name, s in zip(names.queries_keys_values, sides, strict=True)}
        pieces, _, hidden, width = shapes[prefix + "gate_up"]
        gates = dict.fromkeys(("gate", "up"), (pieces * hidden, width))
        for ours, theirs in names.of_layer.items():
            published[layer + theirs] = gates[ours] if ours in gates else shapes[prefix + ours]
    return published


def published_arrays(arrays: Mapping[str, np.ndarray], names: Names) -> dict[str, np.ndarray]:
    """Takes our tree's arrays, by name, apart into those of the file: the inverse of `layout`."""
    published = {theirs: arrays[ours] for ours, theirs in names.others.items()}
    for i in range(sum(name.endswith("/qkv") for name in arrays)):
        prefix, layer = f"layers/{i}/", names.layer.format(i)
        qkv, gate_up = arrays[prefix + "qkv"], arrays[prefix + "gate_up"]
        width = qkv.shape[-1]
        parts = [part.reshape(-1, width) for part in np.split(qkv, (qkv.shape[1] - 2, qkv.shape[1] - 1), axis=1)]
        if len(names.queries_keys_values) == 1:
            parts = [np.concatenate(parts)]
        published |= {layer + name: part for name, part in zip(names.queries_keys_values, parts, strict=True)}
        gates = {"gate": gate_up[:, 0].reshape(-1, width), "up": gate_up[:, 1].reshape(-1, width)}
        for ours, theirs in names.of_layer.items():
            published[layer + theirs] = gates[ours] if ours in gates else arrays[prefix + ours]
    return published


def _num_layers(shapes: Shapes) -> int:
    return sum(name.endswith("/qkv") for name in shapes)


def _heads_in_groups(parts: list[StoredArray], shape: tuple[int, ...]) -> StoredArray:
    """Queries, keys and values, one after another or three of them, become groups of a few heads of each."""
    groups, per_group, head, width = shape
    if len(parts) == 1:
        ends = [groups * (per_group - 2) * head, groups * (per_group - 1) * head, groups * per_group * head]
        starts = [0, *ends[:-1]]
        parts = [_rows(parts[0], start, end) for start, end in zip(starts, ends, strict=True)]
    return _in_groups(parts, (per_group - 2, 1, 1), (groups, per_group, head, width))


def _in_groups(arrays: tuple[StoredArray, ...] | list[StoredArray], weights: tuple[int, ...], shape: tuple[int, ...]):
    """Takes as many pieces of `shape[2]` rows of each array as its weight says, then again, for every group."""
    groups, _, rows, _ = shape
    pieces = [
        _rows(array, group * weight * rows, (group + 1) * weight * rows)
        for group in range(groups)
        for array, weight in zip(arrays, weights, strict=True)
    ]
    return StoredArray(shape=shape, parts=tuple(part for piece in pieces for part in piece.parts))


def _rows(stored: StoredArray, start: int, end: int) -> StoredArray:
    """A run of rows of an array that lies in one piece."""
    (part,) = stored.parts
    width = math.prod(stored.shape[1:])
    offset = part.offset + start * width * FLOAT_DTYPES[part.dtype].itemsize
    return StoredArray((end - start, *stored.shape[1:]), (replace(part, offset=offset, count=(end - start) * width),))
