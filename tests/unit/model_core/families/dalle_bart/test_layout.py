"""Layers that a file holds one by one are stacked."""

import numpy as np

from model_core.families.dalle_bart import layout
from model_core.weights.weight_files import Part, StoredArray


def stored(*shape: int, offset: int = 0) -> StoredArray:
    return StoredArray(shape=shape, parts=(Part(offset, int(np.prod(shape)), "float32"),))


def test_unrolled_names_and_shapes_come_from_the_stacked_ones():
    stacked = {"a/layers/FlaxBartEncoderLayers/x/kernel": (2, 3, 4), "a/bias": (5,)}
    assert layout.unroll_shapes(stacked) == {
        "a/layers/FlaxBartEncoderLayer_0/x/kernel": (3, 4),
        "a/layers/FlaxBartEncoderLayer_1/x/kernel": (3, 4),
        "a/bias": (5,),
    }


def test_layers_are_stacked_by_number_not_by_place_or_alphabet():
    order = [10, 2, 0, 11, 1, 3, 4, 5, 6, 7, 8, 9]
    index = {f"layers/FlaxBartDecoderLayer_{i}/scale": stored(4, offset=100 + i) for i in order}
    index["head"] = stored(1)
    assert layout.is_unrolled(index)
    result = layout.stack_layers(index)
    assert result.keys() == {"layers/FlaxBartDecoderLayers/scale", "head"}
    stacked = result["layers/FlaxBartDecoderLayers/scale"]
    assert stacked.shape == (12, 4)
    assert [part.offset for part in stacked.parts] == list(range(100, 112))
    assert not layout.is_unrolled(result)
