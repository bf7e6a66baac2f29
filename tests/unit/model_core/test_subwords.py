"""Published tokenizers give the ids that they give elsewhere; the recordings' are in tests/parity."""

import json

import pytest

from model_core.errors import CorruptCheckpoint
from model_core.subwords import clean, read_character_pairs, read_clip_merges, read_tokenizers_json

BYTES = 512  # of CLIP: each alone, and at the end of a word


@pytest.fixture
def clip(tmp_path):
    (tmp_path / "merges.txt").write_text('"a test"\nh e\nhe l</w>\nÐ ½\n')
    return read_clip_merges(tmp_path / "merges.txt")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("!", [256]),  # bytes come in an order of their own
        ("hel", [BYTES + 1]),
        ("he", [ord("h") - 33, 256 + ord("e") - 33]),
        ("hehe", [BYTES, ord("h") - 33, 256 + ord("e") - 33]),
        ("12", [256 + ord("1") - 33, 256 + ord("2") - 33]),  # digits are words of their own
        ("he's", [ord("h") - 33, 256 + ord("e") - 33, ord("'") - 33, 256 + ord("s") - 33]),
        ("нн", [BYTES + 2, 140, 256 + 121]),
        ("<|startoftext|>!<|endoftext|>", [BYTES + 3, 256, BYTES + 4]),
    ],
)
def test_merges_of_bytes_within_words(clip, text, ids):
    assert clip.encode(text) == ids
    assert clip.size == BYTES + 3 + 2


def test_texts_are_cleaned_as_clip_does():
    assert clean("  It&amp;#39;s\tâœ” a\n TEST ") == "it's ✔ a test"


def test_a_json_file_is_taken_as_it_is_but_for_padding_and_cutting(tmp_path):
    model = {"type": "WordLevel", "vocab": {"[PAD]": 0, "a": 1, "b": 7}, "unk_token": "[PAD]"}
    padding = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    padding |= {"pad_type_id": 0, "pad_token": "[PAD]"}
    truncation = {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    content = {"version": "1.0", "truncation": truncation, "padding": padding, "added_tokens": [], "normalizer": None}
    content |= {"pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None, "model": model}
    (tmp_path / "bpe.json").write_text(json.dumps(content))
    subwords = read_tokenizers_json(tmp_path / "bpe.json")
    assert (subwords.encode("a b c"), subwords.size) == ([1, 7, 0], 8)


@pytest.fixture
def pairs(tmp_path):
    ids = {"[PAD]": 3, "[UNK]": 1, "a": 0, "b": 2, "b</w>": 4, "a</w>": 5, "ab</w>": 6}
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    return tmp_path


def test_pairs_of_characters_in_lower_case_words(pairs):
    subwords = read_character_pairs(pairs / "vocab.json", pairs / "merges.txt")
    assert (subwords.encode("AB  ba\tz"), subwords.size, subwords.pad) == ([6, 2, 5, 1], 7, 3)


@pytest.mark.parametrize("content", ["", "one line", "about\na b c\n", "about\n\nab\n"])
def test_other_files_of_merges_are_refused(tmp_path, content):
    (tmp_path / "merges.txt").write_text(content)
    with pytest.raises(CorruptCheckpoint, match=r"merges\.txt"):
        read_clip_merges(tmp_path / "merges.txt")


def test_what_does_not_fit_together_is_refused(pairs):
    with pytest.raises(CorruptCheckpoint, match="nothing"):
        read_character_pairs(pairs / "vocab.json", pairs / "nothing.txt")
    (pairs / "merges.txt").write_text("x y\n")
    with pytest.raises(CorruptCheckpoint, match=r"merges\.txt"):
        read_character_pairs(pairs / "vocab.json", pairs / "merges.txt")
    (pairs / "vocab.json").write_text('{"a": 0, "[PAD]": 1}')
    with pytest.raises(CorruptCheckpoint, match=r"no id for \[UNK\]"):
        read_character_pairs(pairs / "vocab.json", pairs / "merges.txt")
    (pairs / "bpe.json").write_bytes(b"\xff{")
    with pytest.raises(CorruptCheckpoint, match=r"bpe\.json"):
        read_tokenizers_json(pairs / "bpe.json")
