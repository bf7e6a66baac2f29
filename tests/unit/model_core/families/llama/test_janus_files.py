"""Janus' files: both layouts of names, one file or several, and configurations of every age."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model_core import families
from model_core.errors import CheckpointMismatch, CorruptCheckpoint, UnsupportedConfig
from model_core.families.llama.janus import config as janus_config
from model_core.families.llama.janus.config import read_config
from model_core.families.llama.janus.layout import _FROM_DEEPSEEK

JANUS = Path(__file__).parents[4] / "parity" / "fixtures" / "janus-tiny"
DEEPSEEK = {
    "model_type": "multi_modality",
    "max_text_length": 256,
    "language_config": json.loads((JANUS / "config.json").read_text())["text_config"],
    "gen_vision_config": {"params": {"image_token_size": 96, "n_embed": 8}},
    "gen_aligner_config": {"params": {"depth": 2, "input_dim": 8, "n_embed": 48}},
    "gen_head_config": {"params": {"image_token_embed": 48, "image_token_size": 96, "n_embed": 48}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """janus-tiny, to be changed."""
    shutil.copytree(JANUS, tmp_path / "janus", ignore=shutil.ignore_patterns("goldens*"))
    return tmp_path / "janus"


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_text(folder: Path, changes: dict[str, object], *without: str) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"] | changes
    edit(folder, text_config={name: value for name, value in text.items() if name not in without})


def rename(folder: Path, change) -> None:
    """Writes the weights with other names; those for which there is none are left out."""
    weights = load_file(folder / "model.safetensors")
    renamed = {change(name): array for name, array in weights.items()}
    save_file({name: array for name, array in renamed.items() if name}, folder / "model.safetensors")


def deepseeks(name: str) -> str:
    for theirs, ours in _FROM_DEEPSEEK.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise AssertionError(name)


def split(folder: Path, count: int) -> None:
    """Cuts the weights into several files with an index, arrays dealt out in turn."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    for i, name in enumerate(names):
        save_file({key: weights[key] for key in sorted(weights)[i::count]}, folder / name)
    dealt = {key: names[i % count] for i, key in enumerate(sorted(weights))}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": dealt}))


def same(params, others) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), params, others)))


def test_deepseeks_names_load_like_transformers_names(folder):
    _, _, expected = families.load(JANUS)
    rename(folder, deepseeks)
    assert "gen_vision_model.decoder.conv_in.bias" in load_file(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(DEEPSEEK | {"max_text_length": 16}))
    edit(folder, language_config=DEEPSEEK["language_config"] | {"max_position_embeddings": 1024})
    _, config, params = families.load(folder)
    assert config.is_deepseeks
    assert config.grid == (24, 24, 96)
    assert same(params, expected)


def test_several_files_load_like_one(folder):
    _, _, expected = families.load(JANUS)
    split(folder, 3)
    assert same(families.load(folder)[2], expected)


def test_a_missing_file_is_named(folder):
    split(folder, 3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CorruptCheckpoint, match=r"names model-00002-of-00003\.safetensors, which is not there"):
        families.load(folder)


def test_arrays_in_another_file_than_the_index_says_are_named(folder):
    split(folder, 2)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.language_model.norm.weight"] = "model-00001-of-00002.safetensors"
    index["weight_map"]["lm_head.weight"] = "model-00002-of-00002.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(CorruptCheckpoint, match=r"do not agree about lm_head\.weight"):
        families.load(folder)


@pytest.mark.parametrize("weight_map", [None, {}, {"a": "../b.safetensors"}, {"a": 1}, ["a"]])
def test_an_index_that_is_none_is_refused(folder, weight_map):
    split(folder, 2)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CorruptCheckpoint, match="weight_map must be an object of names of files beside it"):
        families.load(folder)


def test_what_drawing_does_not_need_may_be_missing(folder):
    """The language model's head, tied or not, and all that understands pictures; old files have rotary tables."""
    _, _, expected = families.load(JANUS)
    weights = load_file(folder / "model.safetensors")
    kept = {n: a for n, a in weights.items() if not n.startswith(("lm_head", "model.vision_model", "model.aligner"))}
    kept["model.language_model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(6, np.float32)
    save_file(kept, folder / "model.safetensors")
    assert same(families.load(folder)[2], expected)


def test_nothing_of_the_vision_tower_and_the_codec_is_kept():
    _, _, params = families.load(JANUS)
    kept = sum(leaf.size for leaf in jax.tree.leaves(params))
    needed = ("model.language_model", "model.generation")
    weights = load_file(JANUS / "model.safetensors")
    assert kept == sum(array.size for name, array in weights.items() if name.startswith(needed))


def test_missing_and_strange_arrays_are_named_as_the_file_names_them(folder):
    rename(folder, lambda name: name.replace("layers.1.self_attn.k_proj", "layers.1.self_attn.key"))
    with pytest.raises(CheckpointMismatch) as caught:
        families.load(folder)
    assert "missing model.language_model.layers.1.self_attn.k_proj.weight (48, 48)" in str(caught.value)
    assert "unexpected model.language_model.layers.1.self_attn.key.weight (48, 48)" in str(caught.value)


@pytest.mark.parametrize(("width", "size"), [(2048, "1B"), (4096, "7B")])
@pytest.mark.parametrize("files", [("pytorch_model.bin",), ("pytorch_model-00001-of-00002.bin",), ()])
def test_pickles_are_refused_with_the_repository_to_take_instead(folder, files, width, size):
    (folder / "model.safetensors").unlink()
    for name in files:
        (folder / name).write_bytes(b"\x80\x04.")
    text = DEEPSEEK["language_config"] | {"hidden_size": width, "max_position_embeddings": 16384}
    (folder / "config.json").write_text(json.dumps(DEEPSEEK | {"language_config": text}))
    with pytest.raises(CorruptCheckpoint, match=f"models download deepseek-community/Janus-Pro-{size}$"):
        families.load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": 5000.0, "rope_scaling": None},
        {"rope_theta": 5000.0, "rope_scaling": {"type": "default"}},
        {"rope_parameters": {"rope_theta": 5000.0, "rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 5000.0, "rope_type": "default"}, "rope_theta": 1.5},
    ],
)
def test_theta_is_read_from_either_form(folder, changes):
    edit_text(folder, {}, "rope_theta", "rope_scaling")
    edit_text(folder, changes)
    assert read_config(folder).theta == 5000


def test_what_is_absent_means_the_defaults(folder):
    gone = ("rope_theta", "rms_norm_eps", "head_dim", "num_key_value_heads", "hidden_act", "attention_bias")
    expected = read_config(folder)
    edit_text(folder, {}, *gone)
    assert read_config(folder) == expected
    (folder / "config.json").write_text('{"model_type": "janus", "text_config": {"max_position_embeddings": 16384}}')
    config = read_config(folder)
    assert (config.grid, config.vocabulary, config.code_width) == ((24, 24, 16384), 32000, 8)
    assert (config.blocks.width, config.blocks.hidden, config.blocks.layers) == (4096, 11008, 32)
    assert (config.blocks.heads, config.blocks.kv_heads, config.blocks.head_width) == (32, 32, 128)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling asks for 'linear'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "rope_parameters asks for 'llama3'"),
        ({"rope_parameters": {"rope_theta": -1}}, "rope_theta is -1; it must be a number above 0"),
        ({"hidden_act": "gelu"}, "hidden_act in the language model's configuration is 'gelu'; only 'silu'"),
        ({"attention_bias": True}, "attention_bias .* only False"),
        ({"num_key_value_heads": 3}, "4 heads and 3 of keys and values"),
        ({"head_dim": 11}, "11 wide; it must be even"),
        ({"hidden_size": "48"}, "hidden_size is '48'; it must be an integer"),
        ({"max_position_embeddings": 40}, "max_text_length is 4; it must be an integer from 16"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(folder, changes, message):
    edit_text(folder, changes)
    with pytest.raises(UnsupportedConfig, match=message):
        read_config(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_config": {"image_size": 12, "patch_size": 3}}, "num_image_tokens is 576; 4 × 4 codes are drawn"),
        ({"vq_config": {"num_hidden_layers": 3}}, "num_hidden_layers in vq_config is 3; only 2"),
        (
            {"vq_config": {"projection_dim": 2048}},
            "vq_config.projection_dim is 2048; only hidden_size, 48",
        ),
        ({"vq_config": 3}, "vq_config is 3; it must be an object"),
        ({"max_text_length": 500}, "max_text_length is 500; with an image's codes at most 476 fit"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(UnsupportedConfig, match=message):
        read_config(folder)


def test_room_for_text_can_be_chosen(folder):
    assert read_config(folder).condition_shape == (janus_config.MAX_TEXT_LENGTH,)
    edit(folder, max_text_length=64)
    assert read_config(folder).condition_shape == (64,)


def test_deepseeks_configuration_of_another_aligner_is_refused(folder):
    (folder / "config.json").write_text(json.dumps(DEEPSEEK | {"gen_aligner_config": {"params": {"depth": 3}}}))
    with pytest.raises(UnsupportedConfig, match=re.escape("gen_aligner_config.params.depth is 3; only 2")):
        read_config(folder)
