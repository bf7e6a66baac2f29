"""Prompt → text tokens, for DalleBart and for CLIP.

Knows nothing of the models but their folders: config.json, the tokenizer's files, the word list. No network, no JAX.

Provenance: `DalleBartProcessor` of dalle-mini 0.1.5 and `CLIPTokenizerFast` of transformers 4.25.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int32

from model_core.bpe import read_bpe
from model_core.errors import InvalidValue, UnsupportedConfig
from model_core.families.dalle_bart.normalize import WordList, normalize
from model_core.weights.json_files import read_json

__all__ = ["Tokenizer", "WordList", "normalize"]

WORD_LIST = "enwiki-words-frequency.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """What a model's config.json says of its text.

    Attributes:
      max_text_length: T, bos and eos included.
      vocab_size: rows of the model's embedding table.
      normalize_text: whether prompts go through `normalize`.
    """

    max_text_length: int
    vocab_size: int
    normalize_text: bool
    is_clip: bool

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "TextConfig":
        """Reads the config.json of a DalleBart or a CLIP; absent keys have the published classes' defaults."""
        if raw.get("model_type") == "clip":
            text = raw.get("text_config") or {}
            length, vocab_size = text.get("max_position_embeddings", 77), text.get("vocab_size", 49408)
        elif raw.get("model_type") == "dallebart":
            length, vocab_size = raw.get("max_text_length", 64), raw.get("encoder_vocab_size", 50264)
        else:
            raise UnsupportedConfig(f"model_type is {raw.get('model_type')!r}; 'dallebart' and 'clip' take text.")
        for key, value in (("the text's length", length), ("the vocabulary's size", vocab_size)):
            if type(value) is not int or value < 3:
                raise UnsupportedConfig(f"{key} in config.json is {value!r}; it must be an integer from 3 up.")
        return cls(
            max_text_length=length,
            vocab_size=vocab_size,
            normalize_text=raw["model_type"] == "dallebart" and bool(raw.get("normalize_text", False)),
            is_clip=raw["model_type"] == "clip",
        )


class Tokenizer:
    """Turns prompts into right-padded text tokens [B, T]; safe to share between threads.

    Attributes:
      config: the text's length, the vocabulary's size, and whether prompts are normalised.
    """

    def __init__(self, config: TextConfig, backend: tokenizers.Tokenizer, word_list: Path | None):
        """Takes over `backend`, which truncates and pads; `from_folder` is the usual way."""
        self.config = config
        self._backend = backend
        self._word_list = word_list

    @classmethod
    def from_folder(cls, folder: str | os.PathLike) -> "Tokenizer":
        """Reads tokenizer.json, or vocab.json and merges.txt where there is none.

        Raises:
          ModelNotFound: there is no such folder.
          CorruptCheckpoint: a file is missing or not in its format, or the tokens do not fit the model.
          UnsupportedConfig: config.json is neither of a DalleBart nor of a CLIP.
        """
        folder = Path(folder)
        config = TextConfig.from_dict(read_json(folder, "config.json"))
        backend = read_bpe(folder, config.is_clip, config.max_text_length, config.vocab_size)
        word_list = folder / WORD_LIST
        return cls(config, backend, word_list if word_list.is_file() else None)

    def __call__(self, prompts: Sequence[str]) -> tuple[Int32[np.ndarray, "B T"], Int32[np.ndarray, "B T"]]:
        """Turns prompts into (text_tokens, text_mask).

        Tokens beyond T are cut off, eos stays last. The mask is 1 for real tokens, bos and eos among them. Text that
        is not valid unicode (lone surrogates) becomes U+FFFD; nothing else is refused, whatever its length.

        Raises:
          InvalidValue: `prompts` is not a sequence of strings.
        """
        if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
            raise InvalidValue("Tokenizer takes a list of strings, one for each prompt.", "prompt")
        return self._encode([self._prepare(prompt) for prompt in prompts])

    def unconditional(self, batch: int) -> tuple[Int32[np.ndarray, "B T"], Int32[np.ndarray, "B T"]]:
        """Gives `batch` rows of the empty text, not normalised: bos, eos, padding."""
        return self._encode([""] * batch)

    def _prepare(self, prompt: str) -> str:
        if self.config.normalize_text:
            prompt = normalize(prompt, self._word_list)
        return prompt.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        # One by one: the library's batches start a thread pool, which is not worth it for a handful of prompts.
        rows = [self._backend.encode(text) for text in texts]
        shape = (len(rows), self.config.max_text_length)
        text_tokens = np.array([row.ids for row in rows], np.int32).reshape(shape)
        text_mask = np.array([row.attention_mask for row in rows], np.int32).reshape(shape)
        return text_tokens, text_mask
