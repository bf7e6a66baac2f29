"""What is true of tokens whatever the vocabulary."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import CorruptCheckpoint, InvalidValue, ModelNotFound, UnsupportedConfig
from model_core.families.dalle_bart.text import Tokenizer

FIXTURES = Path(__file__).parents[4] / "parity" / "fixtures"
DALLE, CLIP = FIXTURES / "dalle-tiny", FIXTURES / "clip-tiny"
ANY_TEXT = st.text(st.characters(codec=None), max_size=200)  # lone surrogates and NULs among it


@pytest.fixture(scope="module", params=[DALLE, CLIP], ids=["dalle", "clip"])
def tokenizer(request):
    return Tokenizer.from_folder(request.param)


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(DALLE, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.msgpack", "*.npz"))
    return tmp_path


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(prompt=ANY_TEXT)
def test_any_text_gives_bos_tokens_eos_padding(tokenizer, prompt):
    text_tokens, text_mask = tokenizer([prompt])
    (bos_eos,), (pair_mask,) = tokenizer.unconditional(1)
    bos, eos, pad = bos_eos[0], bos_eos[1], bos_eos[2]
    assert pair_mask.sum() == 2
    length = text_mask[0].sum()
    assert 2 <= length <= tokenizer.config.max_text_length == text_tokens.shape[1]
    assert text_mask[0].tolist() == [1] * length + [0] * (len(text_mask[0]) - length)
    assert text_tokens[0, 0] == bos
    assert text_tokens[0, length - 1] == eos
    assert (text_tokens[0, length:] == pad).all()
    assert 0 <= text_tokens.min() <= text_tokens.max() < tokenizer.config.vocab_size


def test_a_batch_is_its_rows_one_by_one(tokenizer):
    prompts = ["a red fox", "", "x" * 500, "中 😺 #sunset"]
    text_tokens, text_mask = tokenizer(prompts)
    for i, prompt in enumerate(prompts):
        row_tokens, row_mask = tokenizer([prompt])
        np.testing.assert_array_equal(text_tokens[i : i + 1], row_tokens)
        np.testing.assert_array_equal(text_mask[i : i + 1], row_mask)


def test_no_prompts_give_no_rows(tokenizer):
    text_tokens, text_mask = tokenizer([])
    assert text_tokens.shape == text_mask.shape == (0, tokenizer.config.max_text_length)


def test_long_text_is_cut_but_keeps_eos(tokenizer):
    long, short = tokenizer(["fox " * 30_000])[0][0], tokenizer(["fox " * 5_000])[0][0]
    np.testing.assert_array_equal(long, short)
    assert long[-1] == tokenizer.unconditional(1)[0][0, 1]


@pytest.mark.parametrize("prompts", ["a bare string", [b"bytes"], [None]])
@pytest.mark.usefixtures("unchecked")
def test_other_than_strings_is_refused(tokenizer, prompts):
    with pytest.raises(InvalidValue, match="list of strings"):
        tokenizer(prompts)


def test_clip_takes_text_as_it_is_but_for_case_and_spaces():
    tokenizer = Tokenizer.from_folder(CLIP)
    same = tokenizer(["A  Red\nFOX", "a red fox"])[0]
    np.testing.assert_array_equal(same[0], same[1])
    different = tokenizer(["#fox!", "fox"])[0]
    assert (different[0] != different[1]).any()


def test_normalization_follows_the_config(folder):
    normalizing = Tokenizer.from_folder(folder)
    edit_config(folder, normalize_text=False)
    raw = Tokenizer.from_folder(folder)
    np.testing.assert_array_equal(normalizing(["A Red FOX!"])[0], raw([" a red fox"])[0])
    assert (normalizing(["A Red FOX!"])[0] != raw(["A Red FOX!"])[0]).any()


def test_hashtags_are_split_only_with_a_word_list(folder):
    with_list = Tokenizer.from_folder(folder)(["#sunsetLover"])[0]
    np.testing.assert_array_equal(with_list, Tokenizer.from_folder(folder)(["sunset lover"])[0])
    (folder / "enwiki-words-frequency.txt").unlink()
    without = Tokenizer.from_folder(folder)
    np.testing.assert_array_equal(without(["#sunsetLover"])[0], without(["sunsetlover"])[0])


@pytest.mark.parametrize("name", ["special_tokens_map.json", "tokenizer_config.json"])
def test_either_file_of_special_tokens_will_do(folder, name):
    expected = Tokenizer.from_folder(folder)(["a fox </s> <mask>"])[0]
    (folder / name).unlink()
    np.testing.assert_array_equal(Tokenizer.from_folder(folder)(["a fox </s> <mask>"])[0], expected)


def test_missing_and_broken_files_are_named(folder):
    with pytest.raises(ModelNotFound, match="no folder"):
        Tokenizer.from_folder(folder / "nowhere")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CorruptCheckpoint, match=r"tokenizer\.json is not a tokenizer's"):
        Tokenizer.from_folder(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text("<html>")
    with pytest.raises(CorruptCheckpoint, match=r"vocab\.json or merges\.txt is not"):
        Tokenizer.from_folder(folder)
    (folder / "vocab.json").unlink()
    with pytest.raises(CorruptCheckpoint, match=r"neither tokenizer\.json nor"):
        Tokenizer.from_folder(folder)


def test_tokenizer_of_another_model_is_refused(folder):
    edit_config(folder, encoder_vocab_size=100)
    with pytest.raises(CorruptCheckpoint, match=r"ids up to 383, config\.json says 100"):
        Tokenizer.from_folder(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "'bert'"),
        ({"max_text_length": "24"}, "length in config.json is '24'"),
        ({"max_text_length": 2}, "from 3 up"),
        ({"encoder_vocab_size": None}, "size in config.json is None"),
    ],
)
def test_config_without_a_text_is_refused(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(UnsupportedConfig, match=message):
        Tokenizer.from_folder(folder)


def test_module_does_without_jax_and_transformers():
    module = "model_core.families.dalle_bart.text"
    code = f"import sys, {module}; print({{'jax', 'transformers', 'huggingface_hub'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout == "set()\n"
