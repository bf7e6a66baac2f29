"""The normaliser and the tokenizers, against what the reference made of the same text."""

import json
from pathlib import Path

import numpy as np
import pytest

from model_core.families.dalle_bart.normalize import normalize
from model_core.families.dalle_bart.text import open_tokenizer
from model_core.scorers import clip

FIXTURES = Path(__file__).parent / "fixtures"
RECORDED = json.loads((FIXTURES / "text" / "normalizer.json").read_text())
WORD_LIST = FIXTURES / "dalle-tiny" / "enwiki-words-frequency.txt"
FOLDERS = ["dalle-tiny", "dalle-tiny-unscanned", "dalle-tiny-fp16", "clip-tiny", "clip-tiny-torch"]


@pytest.fixture(params=["tokenizer.json", "vocab.json"])
def folder_of(request, tmp_path):
    """Gives a fixture's folder, once with its tokenizer.json and once with vocab.json and merges.txt only."""

    def find(name: str) -> Path:
        if request.param == "tokenizer.json":
            return FIXTURES / name
        for path in (FIXTURES / name).iterdir():
            if path.suffix in (".json", ".txt") and path.name != "tokenizer.json":
                (tmp_path / path.name).symlink_to(path)
        return tmp_path

    return find


@pytest.mark.parametrize(("text", "expected"), RECORDED["normalized"])
def test_normalized_text(text, expected):
    assert normalize(text, WORD_LIST) == expected


@pytest.mark.parametrize("name", FOLDERS)
def test_prompts_become_the_recorded_tokens(folder_of, name):
    goldens = np.load(FIXTURES / name / "goldens.npz")
    tokenizer = (clip.open_text if name.startswith("clip") else open_tokenizer)(folder_of(name))
    text_tokens, text_mask = tokenizer([str(prompt) for prompt in goldens["prompts"]])
    np.testing.assert_array_equal(text_tokens, goldens["input_ids"])
    np.testing.assert_array_equal(text_mask, goldens["attention_mask"])
    assert text_tokens.dtype == text_mask.dtype == np.int32


@pytest.mark.parametrize("name", [name for name in FOLDERS if name.startswith("dalle")])
def test_unconditional_text_becomes_the_recorded_tokens(folder_of, name):
    goldens = np.load(FIXTURES / name / "goldens.npz")
    text_tokens, text_mask = open_tokenizer(folder_of(name)).unconditional(len(goldens["prompts"]))
    np.testing.assert_array_equal(text_tokens, goldens["input_ids_uncond"])
    np.testing.assert_array_equal(text_mask, goldens["attention_mask_uncond"])


def test_text_taken_as_it_is_becomes_the_recorded_tokens(folder_of, tmp_path_factory):
    raw_folder = tmp_path_factory.mktemp("raw")
    for path in folder_of("dalle-tiny").iterdir():
        (raw_folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((raw_folder / "config.json").read_text()) | {"normalize_text": False}
    (raw_folder / "config.json").write_text(json.dumps(config))
    texts, _, expected = zip(*RECORDED["tokenized"], strict=True)
    text_tokens, _ = open_tokenizer(raw_folder)(texts)
    np.testing.assert_array_equal(text_tokens, np.array(expected))
