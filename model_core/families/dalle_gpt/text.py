"""Prompt → words → token ids, as each layout's own tokenizer makes them: the text's part of the stream. No JAX.

In config.json `tokenizer` says what there is: `{"kind": "simple" | "hug" | "yttm", "file": name}`, as DALLE-pytorch's
options are called; for ruDALL-E the name of a file of youtokentome's. minDALL-E's are in `tokenizer/`, by the names
that it is published with.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model_core.errors import CorruptCheckpoint, UnsupportedConfig
from model_core.families.conditions import Condition, EncodedPrompt
from model_core.families.dalle_gpt.config import from_dict
from model_core.families.dalle_gpt.sizes import DalleGptConfig
from model_core.subwords import clean, read_character_pairs, read_clip_merges, read_tokenizers_json
from model_core.weights.json_files import read_json
from model_core.youtokentome import read_youtokentome

_CHARACTER_PAIRS = ("tokenizer/bpe-16k-vocab.json", "tokenizer/bpe-16k-merges.txt")


class TokenizerOfLayout(NamedTuple):
    """What a layout makes of a prompt.

    Attributes:
      to_words: a prompt as the model reads it.
      to_ids: words → ids, all of them, without padding.
      pad: the id behind them.
    """

    to_words: Callable[[str], str]
    to_ids: Callable[[str], list[int]]
    pad: int = 0


def open_text(folder: Path, dtype: str = "float32", *, batch_size: int = 8, place: Any = None) -> "DalleGptText":
    """Opens a folder's tokenizer. There are no weights in it, so the other arguments do not matter.

    Raises:
      ModelNotFound: there is no such folder.
      CorruptCheckpoint: a file is missing or not in its format, or the tokens do not fit the model.
      UnsupportedConfig: config.json is not of a DalleGpt, or names another tokenizer.
    """
    folder = Path(folder)
    raw = read_json(folder, "config.json")
    config = from_dict(raw)
    return DalleGptText(config, open_tokenizer(folder, raw, config))


def open_tokenizer(folder: Path, raw: dict[str, Any], config: DalleGptConfig) -> TokenizerOfLayout:
    """Reads the tokenizer of a folder whose config.json is `raw`; raises as `open_text`."""
    named = raw.get("tokenizer")
    num_words = config.text_vocab if config.first_pad is None else config.first_pad
    if raw["layout"] == "mindalle":
        subwords = read_character_pairs(*(folder / name for name in _CHARACTER_PAIRS))
        _check_size(folder, subwords.size, num_words)
        return TokenizerOfLayout(_as_it_is, subwords.encode, subwords.pad)
    if raw["layout"] == "rudalle":
        pieces = read_youtokentome(_beside(folder, named))
        _check_size(folder, pieces.size, num_words)
        return TokenizerOfLayout(_lower, lambda words: [pieces.begin, *pieces(words), pieces.end])
    kind, file = (named.get("kind"), named.get("file")) if isinstance(named, dict) else (None, None)
    if kind == "yttm":
        pieces = read_youtokentome(_beside(folder, file))
        _check_size(folder, pieces.size, num_words)
        return TokenizerOfLayout(_as_it_is, pieces)
    readers = {"simple": (read_clip_merges, clean), "hug": (read_tokenizers_json, _as_it_is)}
    if kind not in readers:
        raise UnsupportedConfig(f"tokenizer.kind is {kind!r:.100}; it must be simple, hug or yttm.")
    read, to_words = readers[kind]
    subwords = read(_beside(folder, file))
    _check_size(folder, subwords.size, num_words)
    return TokenizerOfLayout(to_words, subwords.encode)


class DalleGptText:
    """Turns prompts into conditions: token ids, padded and cut to T. Safe to share between threads."""

    def __init__(self, config: DalleGptConfig, tokenizer: TokenizerOfLayout):
        """`open_text` is the usual way."""
        self.tokenizer = tokenizer
        self._length, self._guides = config.text_length, config.guides

    def __call__(self, prompt: str, negative: str | None = None) -> tuple[Condition, Condition | None]:
        """A prompt's condition, and what guidance leads away from; None where the model cannot be guided."""
        (encoded,) = self.encode([(prompt, negative or "")])
        return encoded.condition, encoded.uncondition

    def encode(self, pairs: Sequence[tuple[str, str | None]]) -> list[EncodedPrompt]:
        """The same for several prompts. No text at all is pads alone, which is not what an empty prompt may be."""
        return [self._encode(prompt, negative) for prompt, negative in pairs]

    def _encode(self, prompt: str, negative: str | None) -> EncodedPrompt:
        words = self.tokenizer.to_words(_valid(prompt))
        condition = self._condition(self.tokenizer.to_ids(words))
        uncondition = None
        if self._guides and negative is not None:
            ids = self.tokenizer.to_ids(self.tokenizer.to_words(_valid(negative))) if negative else []
            uncondition = self._condition(ids)
        return EncodedPrompt(
            condition=condition,
            uncondition=uncondition,
            words=words.strip(),
            num_tokens=int(condition.mask.sum()),
            num_negative_tokens=int(uncondition.mask.sum()) if uncondition else 0,
        )

    def _condition(self, ids: list[int]) -> Condition:
        values, known = np.full(self._length, self.tokenizer.pad, np.int32), ids[: self._length]
        values[: len(known)] = known
        return Condition(values, (np.arange(self._length) < len(known)).astype(np.int32))


def _as_it_is(text: str) -> str:
    return text


def _lower(text: str) -> str:
    return text.lower().strip()


def _valid(text: str) -> str:
    """With U+FFFD for what is not valid unicode."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _beside(folder: Path, name: Any) -> Path:
    """A file of the folder that config.json names."""
    if not isinstance(name, str) or name != Path(name).name or name in ("", ".", ".."):
        raise UnsupportedConfig(f"tokenizer in config.json names {name!r:.100}; it must be a file beside it.")
    return folder / name


def _check_size(folder: Path, size: int, allowed: int) -> None:
    """Refuses a tokenizer made for another model."""
    if size > allowed:
        raise CorruptCheckpoint(
            f"{folder}: the tokenizer has ids up to {size - 1}, config.json says {allowed} tokens. The two belong to "
            "different models."
        )
