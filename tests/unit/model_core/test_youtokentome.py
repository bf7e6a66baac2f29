"""youtokentome's files are read, and its rules applied, as that library does."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import CorruptCheckpoint
from model_core.youtokentome import Youtokentome, read_youtokentome

FILE = "4 2\n9601 4\n97 5\n98 6\n99 7\n5 6 8\n4 8 9\n1 0 2 3\n"  # a b → ab, then ▁ ab → ▁ab


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "bpe.model").write_text(FILE)
    return read_youtokentome(tmp_path / "bpe.model")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        (" \t\n\r\v\f\u2581 ", []),
        ("ab", [9]),
        ("ab\u2581cab", [9, 4, 7, 8]),
        ("a\xa0b", [4, 5, 1, 6]),  # only ASCII's spaces are between words
        ("xyz ab", [4, 1, 9]),  # unknown characters in a row are one
        ("xaxx", [4, 1, 5, 1]),
    ],
)
def test_texts(tokenizer, text, ids):
    assert tokenizer(text) == ids


def test_what_the_file_says(tokenizer):
    assert (tokenizer.unknown, tokenizer.begin, tokenizer.end, tokenizer.size) == (1, 2, 3, 10)


rules = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12, unique=True)


@settings(deadline=None)
@given(rules, st.lists(st.integers(1, 4), max_size=40))
def test_the_first_rule_that_fits_is_applied_where_it_fits_first(pairs, word):
    """The same as by going through the whole word for each rule."""
    table = {pair: (place, 5 + place % 5) for place, pair in enumerate(pairs)}
    expected = list(word)
    while fits := [(table[pair][0], at) for at, pair in enumerate(pairwise(expected)) if pair in table]:
        place, at = min(fits)
        expected[at : at + 2] = [5 + place % 5]
    assert Youtokentome({}, table, 0, 0, 0, 10)._merged(list(word)) == expected


def test_a_long_word_takes_no_long_time(tokenizer):
    assert tokenizer("ab" * 50_000) == [9] + [8] * 49_999


@pytest.mark.parametrize(
    "content",
    [
        "",
        "4 2",
        FILE.replace("4 2\n", "5 2\n"),
        FILE.replace("8 9", "8 99"),
        FILE.replace("97 5", "97"),
        "a b\n",
        FILE + "1 2\n",
    ],
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "bpe.model").write_text(content)
    with pytest.raises(CorruptCheckpoint, match=r"bpe\.model is no tokenizer of youtokentome"):
        read_youtokentome(tmp_path / "bpe.model")


def test_random_bytes_are_refused(tmp_path):
    (tmp_path / "bpe.model").write_bytes(np.random.default_rng(0).bytes(500))
    with pytest.raises(CorruptCheckpoint):
        read_youtokentome(tmp_path / "bpe.model")
    with pytest.raises(CorruptCheckpoint):
        read_youtokentome(tmp_path / "nothing")
