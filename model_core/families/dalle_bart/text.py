"""Prompt → words → text tokens → encoder states.

What needs JAX is imported with the encoder's weights; words and tokens do without.

Provenance: `DalleBartProcessor` of dalle-mini 0.1.5.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model_core.batches import batches
from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Condition, EncodedPrompt
from model_core.families.dalle_bart.normalize import normalize
from model_core.tokenizer import TextTokens, Tokenizer
from model_core.weights.json_files import read_json

WORD_LIST = "enwiki-words-frequency.txt"

Encode = Callable[[TextTokens, TextTokens], Any]  # (text_tokens, text_mask) → states [B, T, D]


def open_text(
    folder: str | os.PathLike, dtype: str = "float32", *, batch_size: int = 8, place: Any = None
) -> "DalleBartText":
    """Loads what turns prompts into conditions: the tokenizer and the encoder.

    Args:
      dtype: what the encoder is held and computed in; conditions are float32.
      batch_size: texts in one call of the encoder, whatever their number.
      place: as in `checkpoint.load_params`.

    Raises: as `open_tokenizer` and `families.load`.
    """
    from model_core import families

    tokenizer = open_tokenizer(folder)
    family, config, params = families.load(folder, dtype, role="text", place=place)
    return DalleBartText(tokenizer, partial(family.encode, config, params), batch_size)


def open_tokenizer(folder: str | os.PathLike) -> Tokenizer:
    """Reads config.json, the tokenizer's files, and the word list where there is one.

    Raises:
      ModelNotFound: there is no such folder.
      CorruptCheckpoint: a file is missing or not in its format, or the tokens do not fit the model.
      UnsupportedConfig: config.json is not of a DalleBart.
    """
    folder = Path(folder)
    raw = read_json(folder, "config.json")
    if raw.get("model_type") != "dallebart":
        raise UnsupportedConfig(f"model_type in config.json is {raw.get('model_type')!r}; it must be 'dallebart'.")
    word_list = folder / WORD_LIST
    return Tokenizer(
        folder,
        "BartTokenizer",
        max_length=raw.get("max_text_length", 64),
        vocab_size=raw.get("encoder_vocab_size", 50264),
        normalize=partial(normalize, word_list=word_list if word_list.is_file() else None)
        if raw.get("normalize_text", False)
        else str,
    )


class DalleBartText:
    """Turns prompts into conditions: encoder states. What comes out for a text depends on no other."""

    def __init__(self, tokenizer: Tokenizer, encode: Encode, batch_size: int):
        """`open_text` is the usual way."""
        self.tokenizer = tokenizer
        self._encode = encode
        self._batch_size = batch_size

    def __call__(self, prompt: str, negative: str | None = None) -> tuple[Condition, Condition]:
        """Turns a prompt and what guidance is to lead away from, if not from no text at all, into two conditions."""
        (encoded,) = self.encode([(prompt, negative or "")])
        assert encoded.uncondition is not None  # "" and any other text have one
        return encoded.condition, encoded.uncondition

    def encode(self, pairs: Sequence[tuple[str, str | None]]) -> list[EncodedPrompt]:
        """Encodes (prompt, negative prompt) pairs, all texts in batches of one size, each text once.

        An empty text is the unconditional one, which is not normalised. Where the negative is None, nothing is made of
        it: the image is to be drawn without guidance.
        """
        if not pairs:
            return []
        texts = dict.fromkeys(text for pair in pairs for text in pair if text is not None)
        words = {text: text and self.tokenizer.normalize(text) for text in texts}
        tokens, mask = self.tokenizer.encode(list(words.values()))
        parts = [
            np.asarray(self._encode(tokens[rows], mask[rows]), np.float32)[:count]
            for rows, count in batches(len(tokens), self._batch_size)
        ]
        states = np.concatenate(parts)
        conditions = {text: Condition(states[row], mask[row]) for row, text in enumerate(texts)}
        read = {text: self.tokenizer.cut(words[text]) for text in texts}
        return [
            EncodedPrompt(
                condition=conditions[prompt],
                uncondition=None if negative is None else conditions[negative],
                words=read[prompt][0].strip(),
                num_tokens=int(conditions[prompt].mask.sum()),
                num_negative_tokens=int(conditions[negative].mask.sum()) if negative else 0,
                num_unread=read[prompt][1],
                num_negative_unread=read[negative][1] if negative else 0,
            )
            for prompt, negative in pairs
        ]
