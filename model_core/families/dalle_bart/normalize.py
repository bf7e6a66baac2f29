"""Prompt → plain lower-case words, as the DALL·E mini models saw their captions in training.

Gives the same text as the reference in all but one case: a lone `<person>` always becomes "a person", where the
reference draws among three words at random.

Provenance: dalle-mini 0.1.5, `TextNormalizer`; hashtags are split after wordninja, where a word costs the
logarithm of its rank.
"""

import html
import math
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import emoji
import ftfy
from unidecode import unidecode

_MARK = "xtokx{}xtokx"


class WordList:
    """Words by frequency, to split hashtags with.

    Only words of ASCII letters and digits are kept: hashtags consist of nothing else by the time they are split.
    """

    def __init__(self, lines: Iterable[str | bytes]):
        """Reads one word a line, most frequent first; what follows the word is ignored."""
        encoded = (line.encode() if isinstance(line, str) else line for line in lines)
        first_words = ((line.split(maxsplit=1) or [b""])[0] for line in encoded)
        self._rank = {word: rank for rank, word in enumerate(first_words, 1) if word.isalnum()}
        self._longest = max(map(len, self._rank), default=1)

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> "WordList":
        with Path(path).open("rb") as file:
            return cls(file)

    def split(self, hashtag: str) -> list[str]:
        """Splits a hashtag (without its "#") into the most probable words; what is in no word falls into letters."""
        words = []
        for part in re.split("[^a-zA-Z0-9]+", hashtag):
            words += _join_digits(self._cheapest(part))
        return words

    def _cheapest(self, text: str) -> list[str]:
        """The split of lowest total cost; the last word is as short as possible where costs are equal."""
        key = text.lower().encode()
        costs, lengths = [0.0], [0]  # of the best split of the first i letters, and of its last word
        for end in range(1, len(key) + 1):
            best_cost, best_length = math.inf, 1
            for length in range(1, min(self._longest, end) + 1):
                rank = self._rank.get(key[end - length : end])
                if rank is not None and costs[end - length] + math.log(rank) < best_cost:
                    best_cost, best_length = costs[end - length] + math.log(rank), length
            costs.append(best_cost)
            lengths.append(best_length)
        words, end = [], len(key)
        while end > 0:
            words.append(text[end - lengths[end] : end])
            end -= lengths[end]
        return words[::-1]


def _join_digits(words: list[str]) -> list[str]:
    joined: list[str] = []
    for word in words:
        if joined and joined[-1][-1].isdigit() and word[0].isdigit():
            joined[-1] += word
        else:
            joined.append(word)
    return joined


# Each rule: what is looked for, and what it becomes. The order is the reference's and matters.
# Runs of spaces, commas and quotes are matched without a second way to match them: linear time on any prompt.
_UNTIL_HASHTAGS = [
    (r"<person>(?:[,\s]*+(?:and)*+[,\s]*+<person>)+", " people "),  # CC12M hides names
    (r"<person>", " a person "),
    (r"\A\s*\[\d+\]", ""),  # footnote marks, as in WIT
    (r"\[\d+\]\s*\Z", ""),
    (r"<[^<]+?>", " "),
    (r"http\S+", ""),
    (r"(\d),(\d{3})", r"\1\2"),
    (r"(\d),(\d{3})", r"\1\2"),  # again: 3,000,000
    # a dot inside a word or number, the apostrophe of 's, 't, …, and the slash of a date outlive what comes below
    (r"(\w)\.(\w)", rf"\1{_MARK.format('dot')}\2"),
    (r"'(?=(?:[stdm]|ll|re|ve)\b)", _MARK.format("quote")),
    (r"(\d)/(\d)", rf"\1{_MARK.format('slash')}\2"),
    (r"(\w)-(\w)", r"\1 \2"),
    (r"([%&/$*])", r" \1 "),
]
_AFTER_HASHTAGS = [
    (r"[_#\\]", " "),
    (r"['\"`]", ' " '),
    (r"[()\[\].,|:;?!=+~\-/{}]", ","),
    (_MARK.format("dot"), "."),
    (_MARK.format("quote"), "'"),
    (_MARK.format("slash"), "/"),
    (r"\s+", " "),
    (r"(\D)\1{3,}", r"\1"),  # four or more in a row; not three, because of "viii"
    (r"\s*\"[\s\"]*", ' " '),
    (r"\s*,[\s,]*", ", "),
    (r"\s+", " "),
]


def normalize(prompt: str, word_list: WordList | str | os.PathLike | Iterable[str] | None = None) -> str:
    """Normalises a prompt: unicode repaired and spelled in ASCII, emoji in words, no markup, little punctuation.

    Args:
      prompt: any text; lone surrogates and control characters are dropped.
      word_list: splits hashtags: a WordList, the path of a list, or its lines. None leaves hashtags in one piece.

    Returns:
      The text, beginning with a space.
    """
    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    text = unidecode(emoji.demojize(text)).lower()
    text = _apply(_UNTIL_HASHTAGS, text)
    if word_list is not None and "#" in text:
        words = _as_word_list(word_list)
        text = re.sub(r"#(\w+)", lambda hashtag: " ".join(words.split(hashtag[1])), text)
    text = _apply(_AFTER_HASHTAGS, text).strip()
    return " " + text.removesuffix(",").removeprefix(",").strip()


def _apply(rules: list[tuple[str, str]], text: str) -> str:
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return text


def _as_word_list(source: WordList | str | os.PathLike | Iterable[str]) -> WordList:
    if isinstance(source, WordList):
        return source
    return _word_list_at(Path(source)) if isinstance(source, str | os.PathLike) else WordList(source)


_word_list_at = lru_cache(maxsize=1)(WordList.from_file)
