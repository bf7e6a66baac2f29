"""Tokenizers as text-to-image models of 2021 publish them: files → texts as ids, without padding.

CLIP's own file of merges, `tokenizers`' JSON, and vocabulary and merges of character pairs. Imports no JAX, and no
transformers.

Provenance: `SimpleTokenizer` of CLIP (github.com/openai/CLIP) as in DALLE-pytorch 1.6.6, `CharBPETokenizer` of
tokenizers as minDALL-E uses it.
"""

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import ftfy

from model_core.errors import CorruptCheckpoint
from model_core.weights.json_files import read_json

if TYPE_CHECKING:
    import tokenizers

_CLIP_MERGES = 49152 - 256 - 2  # lines that are read of a longer file
_CLIP_SPECIALS = ("<|startoftext|>", "<|endoftext|>")
_CLIP_WORDS = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class Subwords(NamedTuple):
    """A tokenizer.

    Attributes:
      encode: a text → its ids.
      size: every id is below it.
      pad: the id of padding, where the files say so; else 0.
    """

    encode: Callable[[str], list[int]]
    size: int
    pad: int = 0


def read_clip_merges(path: Path) -> Subwords:
    """Reads CLIP's `bpe_simple_vocab_16e6.txt`: a line about it, then a pair of subwords a line, the most wanted first.

    Texts are to be cleaned by `clean` before. Raises CorruptCheckpoint where the file is missing or no such file.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    lines = _text(path).split("\n")[1 : _CLIP_MERGES + 1]
    pairs = _pairs(path, [line for line in lines if line])
    characters = _byte_characters()
    names = [*characters, *(f"{one}</w>" for one in characters), *map("".join, pairs), *_CLIP_SPECIALS]
    vocabulary = {name: place for place, name in enumerate(names)}

    def build() -> Tokenizer:
        tokenizer = Tokenizer(models.BPE(vocabulary, pairs, end_of_word_suffix="</w>"))
        words = pre_tokenizers.Split(Regex(_CLIP_WORDS), "removed", invert=True)
        of_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, of_bytes])  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in _CLIP_SPECIALS])
        return tokenizer

    return Subwords(_encoding(_built(path, build)), len(names))


def clean(text: str) -> str:
    """What CLIP's tokenizer makes of a text first: mended, entities resolved twice, one space between words, lower."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip().lower()


def read_tokenizers_json(path: Path) -> Subwords:
    """Reads a JSON file of the library `tokenizers`; raises CorruptCheckpoint where it is missing or no such file."""
    from tokenizers import Tokenizer

    tokenizer = _built(path, lambda: Tokenizer.from_str(_text(path)))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Subwords(_encoding(tokenizer), max(tokenizer.get_vocab().values(), default=-1) + 1)


def read_character_pairs(vocabulary: Path, merges: Path) -> Subwords:
    """Reads minDALL-E's tokenizer: characters of lower-case words and their merges, [UNK] for others, and [PAD].

    Raises:
      CorruptCheckpoint: a file is missing, or they do not fit together.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    ids = read_json(vocabulary.parent, vocabulary.name)
    if missing := [name for name in ("[PAD]", "[UNK]") if type(ids.get(name)) is not int]:
        raise _corrupt(vocabulary, f"it has no id for {' and '.join(missing)}")
    lines = _text(merges).splitlines()
    pairs = _pairs(merges, [line for line in lines if line and not line.startswith("#version")])

    def build() -> Tokenizer:
        tokenizer = Tokenizer(models.BPE(ids, pairs, unk_token="[UNK]", end_of_word_suffix="</w>"))
        steps = [normalizers.BertNormalizer(lowercase=False), normalizers.Lowercase()]
        tokenizer.normalizer = normalizers.Sequence(steps)  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore[reportAttributeAccessIssue]
        return tokenizer

    return Subwords(_encoding(_built(merges, build)), max(ids.values()) + 1, pad=ids["[PAD]"])


def _encoding(tokenizer: "tokenizers.Tokenizer") -> Callable[[str], list[int]]:
    return lambda text: tokenizer.encode(text).ids


def _built(path: Path, build: Callable[[], "tokenizers.Tokenizer"]) -> "tokenizers.Tokenizer":
    try:
        return build()
    except CorruptCheckpoint:
        raise
    except Exception as error:  # the library raises nothing more precise
        raise _corrupt(path, str(error)) from error


def _pairs(path: Path, lines: list[str]) -> list[tuple[str, str]]:
    pairs = [tuple(line.split()) for line in lines]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise _corrupt(path, "it has no lines of two subwords each")
    return pairs  # pyright: ignore[reportReturnType]  (of two each)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _corrupt(path, str(error)) from error


def _corrupt(path: Path, why: str) -> CorruptCheckpoint:
    return CorruptCheckpoint(f"No tokenizer can be made of {path} ({why:.200}). Download or copy it again.")


def _byte_characters() -> list[str]:
    """The characters that stand for bytes, in the order of their ids: those that can be seen first, as themselves."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = sorted(set(range(256)) - set(seen))
    return [chr(byte) for byte in seen] + [chr(256 + place) for place in range(len(hidden))]
