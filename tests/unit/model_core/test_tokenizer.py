"""What is true of tokens whatever the vocabulary, and of files that hold none."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import CorruptCheckpoint, InvalidValue, ModelNotFound, UnsupportedConfig
from model_core.families.dalle_bart.text import open_tokenizer
from model_core.scorers import clip
from model_core.tokenizer import Tokenizer, _valid

FIXTURES = Path(__file__).parents[2] / "parity" / "fixtures"
DALLE, CLIP = FIXTURES / "dalle-tiny", FIXTURES / "clip-tiny"
ANY_TEXT = st.text(st.characters(codec=None), max_size=200)  # lone surrogates and NULs among it


@pytest.fixture(scope="module", params=[(open_tokenizer, DALLE), (clip.open_text, CLIP)], ids=["dalle", "clip"])
def tokenizer(request) -> Tokenizer:
    opened, folder = request.param
    return opened(folder)


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
    assert 2 <= length <= tokenizer.max_length == text_tokens.shape[1]
    assert text_mask[0].tolist() == [1] * length + [0] * (len(text_mask[0]) - length)
    assert text_tokens[0, 0] == bos
    assert text_tokens[0, length - 1] == eos
    assert (text_tokens[0, length:] == pad).all()
    assert 0 <= text_tokens.min() <= text_tokens.max() < tokenizer.vocab_size


def test_a_batch_is_its_rows_one_by_one(tokenizer):
    prompts = ["a red fox", "", "x" * 500, "中 😺 #sunset"]
    text_tokens, text_mask = tokenizer(prompts)
    for i, prompt in enumerate(prompts):
        row_tokens, row_mask = tokenizer([prompt])
        np.testing.assert_array_equal(text_tokens[i : i + 1], row_tokens)
        np.testing.assert_array_equal(text_mask[i : i + 1], row_mask)


def test_no_prompts_give_no_rows(tokenizer):
    text_tokens, text_mask = tokenizer([])
    assert text_tokens.shape == text_mask.shape == (0, tokenizer.max_length)


def test_long_text_is_cut_but_keeps_eos(tokenizer):
    long, short = tokenizer(["fox " * 30_000])[0][0], tokenizer(["fox " * 5_000])[0][0]
    np.testing.assert_array_equal(long, short)
    assert long[-1] == tokenizer.unconditional(1)[0][0, 1]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    text=ANY_TEXT | st.lists(st.sampled_from(["red", "fox", "süß", "中", "😺", "x" * 40]), max_size=200).map(" ".join)
)
def test_how_far_a_text_is_read_is_said(tokenizer, text):
    part, left_out = tokenizer.cut(text)
    (tokens,), (mask,) = tokenizer.encode([text])
    if not left_out:
        assert part == text
        return
    assert mask.all()  # it is full
    assert _valid(text).startswith(part)
    if _valid(text)[len(part) :].startswith(" "):  # else a word is cut in its middle, and may fall apart otherwise
        assert tokenizer.encode([part + " and more of it"])[0][0].tolist() == tokens.tolist()


def test_the_tokens_that_are_left_out_are_counted(tokenizer):
    room = tokenizer.max_length - 2
    words = ["a"] * (room + 5)
    part, left_out = tokenizer.cut(" ".join(words))
    assert (part, left_out) == (" ".join(["a"] * room), 5)
    assert tokenizer.cut(" ".join(words[:room])) == (" ".join(words[:room]), 0)


@pytest.mark.parametrize("prompts", ["a bare string", [b"bytes"], [None]])
@pytest.mark.usefixtures("unchecked")
def test_other_than_strings_is_refused(tokenizer, prompts):
    with pytest.raises(InvalidValue, match="list of strings"):
        tokenizer(prompts)


def test_clip_takes_text_as_it_is_but_for_case_and_spaces():
    tokenizer = clip.open_text(CLIP)
    same = tokenizer(["A  Red\nFOX", "a red fox"])[0]
    np.testing.assert_array_equal(same[0], same[1])
    different = tokenizer(["#fox!", "fox"])[0]
    assert (different[0] != different[1]).any()


def test_normalization_follows_the_config(folder):
    normalizing = open_tokenizer(folder)
    edit_config(folder, normalize_text=False)
    raw = open_tokenizer(folder)
    np.testing.assert_array_equal(normalizing(["A Red FOX!"])[0], raw([" a red fox"])[0])
    assert (normalizing(["A Red FOX!"])[0] != raw(["A Red FOX!"])[0]).any()


def test_hashtags_are_split_only_with_a_word_list(folder):
    with_list = open_tokenizer(folder)(["#sunsetLover"])[0]
    np.testing.assert_array_equal(with_list, open_tokenizer(folder)(["sunset lover"])[0])
    (folder / "enwiki-words-frequency.txt").unlink()
    without = open_tokenizer(folder)
    np.testing.assert_array_equal(without(["#sunsetLover"])[0], without(["sunsetlover"])[0])


@pytest.mark.parametrize("name", ["special_tokens_map.json", "tokenizer_config.json"])
def test_either_file_of_special_tokens_will_do(folder, name):
    expected = open_tokenizer(folder)(["a fox </s> <mask>"])[0]
    (folder / name).unlink()
    np.testing.assert_array_equal(open_tokenizer(folder)(["a fox </s> <mask>"])[0], expected)


@pytest.mark.parametrize("missing", [[], ["tokenizer.json"], ["vocab.json", "merges.txt"]])
@pytest.mark.parametrize(("opened", "source"), [(open_tokenizer, DALLE), (clip.open_text, CLIP)])
def test_special_tokens_are_the_published_ones_where_no_file_says(tmp_path, opened, source, missing):
    expected = opened(source)(["A red fox!", ""])[0]
    for name in {"config.json", "tokenizer.json", "vocab.json", "merges.txt", "enwiki-words-frequency.txt"} - {
        *missing
    }:
        if (source / name).exists():
            (tmp_path / name).symlink_to(source / name)
    np.testing.assert_array_equal(opened(tmp_path)(["A red fox!", ""])[0], expected)


def test_tokenizer_json_is_taken_as_it_is(folder):
    """Although transformers' class of the same name would cut words by rules of its own."""
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["normalizer"] = {"type": "Replace", "pattern": {"String": "fox"}, "content": "red"}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    tokenizer = open_tokenizer(folder)
    np.testing.assert_array_equal(tokenizer(["a fox"])[0], tokenizer(["a red"])[0])


def test_missing_and_broken_files_are_named(folder):
    with pytest.raises(ModelNotFound, match="no folder"):
        open_tokenizer(folder / "nowhere")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CorruptCheckpoint, match=r"can be made of tokenizer\.json.*Download or copy them again"):
        open_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text("<html>")
    with pytest.raises(CorruptCheckpoint, match=r"can be made of vocab\.json, merges\.txt"):
        open_tokenizer(folder)
    (folder / "vocab.json").unlink()
    with pytest.raises(CorruptCheckpoint, match=r"neither tokenizer\.json nor"):
        open_tokenizer(folder)


@pytest.mark.parametrize("name", ["special_tokens_map.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["<html>", "[]", '{"bos_token": ["no", "token"]}', '{"bos_token": {"id": 1}}'])
def test_broken_files_of_special_tokens_are_named(folder, name, content):
    for other in {"special_tokens_map.json", "tokenizer_config.json"} - {name}:
        (folder / other).unlink()
    (folder / name).write_text(content)
    with pytest.raises(CorruptCheckpoint, match=name):
        open_tokenizer(folder)


def test_tokenizer_of_another_model_is_refused(folder):
    edit_config(folder, encoder_vocab_size=100)
    with pytest.raises(CorruptCheckpoint, match=r"ids up to 383, config\.json says 100"):
        open_tokenizer(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "'bert'"),
        ({"max_text_length": "24"}, "length in config.json is '24'"),
        ({"max_text_length": 2}, "from 3 up"),
        ({"encoder_vocab_size": None}, "size in config.json is None"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_config_without_a_text_is_refused(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(UnsupportedConfig, match=message):
        open_tokenizer(folder)


def run(code: str, *options: str) -> str:
    """What a Python of its own prints that may open no connection."""
    no_network = "import socket; socket.socket.connect = socket.getaddrinfo = None\n"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    command = [sys.executable, *options, "-c", no_network + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    return done.stdout + done.stderr


@pytest.mark.parametrize("missing", ["nothing", "tokenizer.json"])
def test_prompts_are_read_offline_and_in_silence_without_jax_and_torch(folder, missing):
    (folder / missing).unlink(missing_ok=True)
    code = f"""
import sys
from model_core.families.dalle_bart.text import open_tokenizer
assert "transformers" not in sys.modules  # it takes half a second
print(open_tokenizer({str(folder)!r})(["A red fox!"])[1].sum(), {{"jax", "torch"}} & set(sys.modules))
"""
    assert run(code, "-W", "error") == f"{open_tokenizer(folder)(['A red fox!'])[1].sum()} set()\n"


@pytest.mark.parametrize(
    "module", ["model_core.sampler.engine", "model_core.codecs.vqgan", "model_core.stages", "deployments.app"]
)
def test_who_reads_no_text_does_without_transformers(module):
    assert run(f"import sys, {module}; print('transformers' in sys.modules)").endswith("False\n")
