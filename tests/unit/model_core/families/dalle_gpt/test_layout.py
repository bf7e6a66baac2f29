"""Published names → ours, on a file's index alone."""

from pathlib import Path

import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from model_core.errors import CheckpointMismatch
from model_core.families.dalle_gpt import family as dalle_gpt
from model_core.families.dalle_gpt.config import from_dict
from model_core.weights.checkpoint import load_params
from tests.unit.model_core.families.dalle_gpt.configs import KINDS, changed

FIXTURES = Path(__file__).parents[4] / "parity" / "fixtures"


def load(folder: Path, name: str, arrays: dict[str, np.ndarray]):
    save_file(arrays, folder / "model.safetensors")
    config = dalle_gpt.read_config(FIXTURES / name)
    params = load_params(folder / "model.safetensors", dalle_gpt.param_shapes(config), layout=dalle_gpt.layout)
    return traverse_util.flatten_dict(params, sep="/")


def published(name: str) -> dict[str, np.ndarray]:
    return load_file(FIXTURES / name / "model.safetensors")


def test_heads_are_cut_where_codes_begin(tmp_path):
    arrays = published("rudalle")
    params = load(tmp_path, "rudalle", arrays)
    for leaf in ("weight", "bias"):
        both = np.concatenate([params[f"text_head/{leaf}"], params[f"head/{leaf}"]])
        np.testing.assert_array_equal(both, arrays[f"to_logits.1.{leaf}"])
    assert len(params["text_head/bias"]) == 158


def test_queries_keys_and_values_are_one_array_in_this_order(tmp_path):
    arrays = published("mindalle")
    params = load(tmp_path, "mindalle", arrays)
    for leaf in ("weight", "bias"):
        parts = [arrays[f"blocks.1.attn.{part}.{leaf}"] for part in ("query", "key", "value")]
        np.testing.assert_array_equal(params[f"layers/1/attention/query_key_value/{leaf}"], np.concatenate(parts))


def test_shared_weights_are_there_once_and_embeddings_are_the_heads_rows(tmp_path):
    arrays = published("dp-taming")
    params = load(tmp_path, "dp-taming", arrays)
    assert "layers/2/attention/query_key_value/weight" not in params
    assert "layers/2/attention/norm/weight" in params
    assert not any("embedding" in name for name in params)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_layers_of_older_versions_are_wrapped_less(tmp_path, count):
    arrays = published("dp-plain-clip")
    wrapped = {name.replace(".fn.fn.fn.to_", f"{'.fn' * count}.to_"): leaf for name, leaf in arrays.items()}
    load(tmp_path, "dp-plain-clip", wrapped)


def test_what_is_missing_or_unknown_is_named(tmp_path):
    arrays = published("rudalle")
    del arrays["transformer.layers.3.mlp.dense_h_to_4h.bias"]
    arrays["transformer.layers.6.mlp.dense_h_to_4h.bias"] = np.zeros(96, np.float32)
    arrays["to_logits.1.bias"] = np.zeros(3, np.float32)
    with pytest.raises(CheckpointMismatch) as error:
        load(tmp_path, "rudalle", arrays)
    for named in (
        "missing layers/3/feed_forward/in/bias",
        "unexpected layers/6/feed_forward/in/bias",
        "both_heads/bias (3,)",
    ):
        assert named in str(error.value)


def test_a_file_of_another_layout_does_not_fit(tmp_path):
    with pytest.raises(CheckpointMismatch, match="missing final_norm/bias"):
        load(tmp_path, "rudalle", {"x": np.zeros(3, np.float32)})
    with pytest.raises(CheckpointMismatch):
        load(tmp_path, "rudalle", published("mindalle"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_array_has_a_place_on_several_devices(kind):
    from model_core.weights.sharding import make_mesh, param_sharding

    mesh = make_mesh(1)
    shapes = traverse_util.flatten_dict(dalle_gpt.param_shapes(from_dict(changed(KINDS[kind]))), sep="/")
    for name, leaf in shapes.items():
        assert param_sharding(mesh, dalle_gpt.CUT_AXES, name, leaf.shape) is not None
        assert dalle_gpt.role_of(name) == "sampler"
