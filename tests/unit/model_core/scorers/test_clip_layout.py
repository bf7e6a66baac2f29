"""PyTorch's CLIP becomes our tree."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import save_file

from model_core import scorers
from model_core.errors import CheckpointMismatch
from model_core.scorers import clip
from model_core.scorers.clip_layout import from_torch, layout
from model_core.weights import checkpoint
from model_core.weights.weight_files import index_safetensors

TORCH_CLIP = Path(__file__).parents[3] / "parity" / "fixtures" / "clip-tiny-torch"


def test_torch_clip_names_and_shapes_are_those_of_the_flax_tree():
    expected = traverse_util.flatten_dict(clip.param_shapes(clip.read_config(TORCH_CLIP)), sep="/")
    found = from_torch(index_safetensors(TORCH_CLIP / "model.safetensors"))
    assert {name: array.final_shape for name, array in found.items()} == {n: leaf.shape for n, leaf in expected.items()}


def test_torch_kernels_are_transposed_and_position_ids_left_out(tmp_path):
    rng = np.random.default_rng(0)
    linear = rng.random((2, 3), np.float32)
    convolution = rng.random((4, 3, 2, 5), np.float32)  # out, in, height, width
    table = rng.random((6, 2), np.float32)
    norm = rng.random(3, np.float32)
    tensors = {
        "text_projection.weight": linear,
        "vision_model.embeddings.patch_embedding.weight": convolution,
        "text_model.embeddings.token_embedding.weight": table,
        "text_model.final_layer_norm.weight": norm,
        "text_model.embeddings.position_ids": np.arange(7)[None],
    }
    save_file(tensors, tmp_path / "model.safetensors")
    wanted = {
        "text_projection": {"kernel": linear.T},
        "vision_model": {"embeddings": {"patch_embedding": {"kernel": convolution.transpose(2, 3, 1, 0)}}},
        "text_model": {
            "embeddings": {"token_embedding": {"embedding": table}},
            "final_layer_norm": {"scale": norm},
        },
    }
    loaded = checkpoint.load_params(tmp_path / "model.safetensors", wanted, layout=layout)
    flat = traverse_util.flatten_dict(loaded)
    for name, array in traverse_util.flatten_dict(wanted).items():
        np.testing.assert_array_equal(flat[name], array)


def test_foreign_tensor_is_reported(tmp_path):
    raw = (TORCH_CLIP / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    header["text_model.adapter.weight"] = header.pop("text_projection.weight")
    packed = json.dumps(header).encode()
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((TORCH_CLIP / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(packed)) + packed + raw[8 + length :])
    with pytest.raises(CheckpointMismatch) as caught:
        scorers.load(tmp_path)
    assert "missing text_projection/kernel" in str(caught.value)
    assert "unexpected text_model/adapter/kernel" in str(caught.value)
