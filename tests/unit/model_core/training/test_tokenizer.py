"""Trained tokenizers have the files of the public models, lose no text, and are read as the public ones are."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from model_core.errors import InvalidValue
from model_core.training.data import Dataset, Item
from model_core.training.tokenizer import read_corpus, train_clip_tokenizer, train_tokenizer

FIXTURES = Path(__file__).parents[3] / "parity" / "fixtures"
PROMPTS = [" a red apple", " a green apple", " an apple pie", " a red car, flat style"] * 5
FILES = {"vocab.json", "merges.txt", "tokenizer.json", "special_tokens_map.json", "tokenizer_config.json"}


@pytest.fixture(scope="session")
def bart_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bart")
    train_tokenizer(PROMPTS, folder, vocab_size=280)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    train_clip_tokenizer(PROMPTS, folder, vocab_size=530)
    return folder


def read(folder: Path, name: str):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def load(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(("kind", "public", "num_first"), [("bart", "dalle-tiny", 261), ("clip", "clip-tiny", 512)])
def test_the_files_are_those_of_the_public_model(kind: str, public: str, num_first: int, request):
    folder: Path = request.getfixturevalue(f"{kind}_folder")
    theirs = FIXTURES / public
    assert {path.name for path in folder.iterdir()} == FILES
    ours_vocab, their_vocab = read(folder, "vocab.json"), read(theirs, "vocab.json")
    assert list(ours_vocab.values()) == list(range(len(ours_vocab)))
    assert list(ours_vocab)[:num_first] == list(their_vocab)[:num_first]
    assert read(folder, "special_tokens_map.json").keys() <= read(theirs, "special_tokens_map.json").keys()
    ours, their = read(folder, "tokenizer.json"), read(theirs, "tokenizer.json")
    assert ours.keys() == their.keys()
    for part in ("normalizer", "pre_tokenizer", "decoder", "truncation", "padding"):
        assert ours[part] == their[part], part
    for part in their["model"].keys() - {"vocab", "merges"}:
        assert ours["model"][part] == their["model"][part], part
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert merges[0] == "#version: 0.2"
    assert [tuple(merge.split(" ")) for merge in merges[1:]] == [tuple(merge) for merge in ours["model"]["merges"]]


def test_start_and_end_are_put_around_a_prompt(bart_folder: Path, clip_folder: Path):
    bart, clip = load(bart_folder), load(clip_folder)
    assert bart.encode("").ids == [0, 2]
    assert bart.encode(" a red apple").tokens == ["<s>", "Ġa", "Ġred", "Ġapple", "</s>"]
    assert clip.encode("").ids == [528, 529]
    assert clip.encode("An  APPLE").tokens == ["<|startoftext|>", "an</w>", "apple</w>", "<|endoftext|>"]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "<" not in text))
def test_no_text_is_lost(bart_folder: Path, text: str):
    bart = load(bart_folder)
    ids = bart.encode(text).ids
    assert bart.decode(ids) == text
    assert 3 not in ids  # <unk>


@given(word=st.text(st.characters(categories=["L"]), min_size=1, max_size=10))
def test_an_unseen_word_falls_into_known_pieces(clip_folder: Path, word: str):
    ids = load(clip_folder).encode(word).ids
    assert ids[0] == 528
    assert ids.index(529) == len(ids) - 1  # the end token, which is also the unknown one, stands only at the end


def test_the_vocabulary_has_the_size_asked_for_or_fewer(tmp_path: Path):
    assert train_tokenizer(PROMPTS, tmp_path / "a", vocab_size=261) == 261
    assert train_clip_tokenizer(PROMPTS, tmp_path / "b", vocab_size=520) == 520
    all_merged = train_tokenizer(PROMPTS, tmp_path / "c", vocab_size=5000)
    assert 261 < all_merged == len(read(tmp_path / "c", "vocab.json")) < 400


def test_a_vocabulary_too_small_for_the_bytes_is_refused(tmp_path: Path):
    with pytest.raises(InvalidValue, match="take 261"):
        train_tokenizer(PROMPTS, tmp_path, vocab_size=100)
    with pytest.raises(InvalidValue, match="take 512"):
        train_clip_tokenizer(PROMPTS, tmp_path, vocab_size=512)


def test_the_corpus_is_the_prompts_and_the_words_beside_them(tmp_path: Path):
    items = (Item(image="a.png", prompts=(("a cat", 1.0), ("cat", 2.0)), concept="cat"),)
    assert read_corpus(Dataset(tmp_path, items)) == ["a cat", "cat"]
    (tmp_path / "words.txt").write_text("dog\nbird\n")
    assert read_corpus(Dataset(tmp_path, items)) == ["a cat", "cat", "dog", "bird"]
