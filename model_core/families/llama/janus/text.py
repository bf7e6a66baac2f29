"""Prompt → token ids, in the form that Janus was trained on. Imports no JAX.

A template and `<begin_of_image>` stand around the prompt. What a prompt spells stays text, special pieces too: only the
template's own become special ids. "No text" is the same ids, with padding in place of all but the first and the last.

Provenance: `VLChatProcessor` of deepseek-ai/Janus, and the chat template of transformers' conversions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Condition, EncodedPrompt
from model_core.families.llama.janus.config import read_config
from model_core.subwords import whole_words
from model_core.tokenizer import Pieces
from model_core.weights.json_files import read_json

BEGIN, BEGIN_OF_IMAGE, PAD = "<｜begin▁of▁sentence｜>", "<begin_of_image>", "<｜▁pad▁｜>"

# Before and behind a prompt, by the `sft_format` of processor_config.json: of Janus-Pro, and of Janus-1.3B.
TEMPLATES = {"deepseek": ("<|User|>: ", "\n\n<|Assistant|>:"), "deepseek_old": ("User: ", "\n\nAssistant:")}

Ids = list[int]


class Template(NamedTuple):
    """A template as ids, and the text that is read together with the prompt: pieces may reach over into it."""

    head: Ids
    before: str
    behind: str
    tail: Ids


def open_text(folder: Path, dtype: str = "float32", *, batch_size: int = 8, place: Any = None) -> "JanusText":
    """Reads config.json, tokenizer.json and, for the form of prompts, processor_config.json; no weights.

    Raises:
      ModelNotFound, CorruptCheckpoint: a file is missing or not in its format, or the tokens do not fit the model.
      UnsupportedConfig: config.json or the form of prompts is not implemented.
    """
    folder = Path(folder)
    config = read_config(folder)
    has_processor = (folder / "processor_config.json").is_file()
    name = read_json(folder, "processor_config.json").get("sft_format") if has_processor else None
    name = "deepseek" if name is None else name
    if name not in TEMPLATES:
        raise UnsupportedConfig(
            f"{folder / 'processor_config.json'}: sft_format is {name!r:.100}; implemented are {', '.join(TEMPLATES)}."
        )
    return JanusText(Pieces(folder, config.vocabulary), config.text_length, *TEMPLATES[name])


class JanusText:
    """Turns prompts into conditions: token ids [T], padded on the left. Safe to share between threads."""

    def __init__(self, pieces: Pieces, length: int, before: str, behind: str):
        """`open_text` is the usual way."""
        self._pieces, self._length = pieces, length
        self._begin, self._image, self._pad = (pieces.id_of(piece) for piece in (BEGIN, BEGIN_OF_IMAGE, PAD))
        self._template = self._split(before, behind)
        self._room = length - len(self._template.head) - len(self._template.tail) - 2  # first and last
        self._behind = pieces.encode(self._template.behind)
        if self._room <= len(self._behind):
            raise UnsupportedConfig(f"max_text_length is {length}, which leaves no room for a prompt.")

    def __call__(self, prompt: str, negative: str | None = None) -> tuple[Condition, Condition]:
        """Turns a prompt and what guidance is to lead away from, if not from no text at all, into two conditions."""
        (encoded,) = self.encode([(prompt, negative or "")])
        assert encoded.uncondition is not None  # "" and any other text have one
        return encoded.condition, encoded.uncondition

    def encode(self, pairs: Sequence[tuple[str, str | None]]) -> list[EncodedPrompt]:
        """Reads (prompt, negative prompt) pairs; a prompt too long loses its end, so that the template stays whole."""
        return [self._encoded(prompt, negative) for prompt, negative in pairs]

    def ids(self, prompt: str) -> Ids:
        """The ids of a prompt in its template, `<begin_of_image>` last."""
        ids = self._inner(prompt)
        if len(ids) > self._room:
            ids = ids[: self._room - len(self._behind)] + self._behind
        return [self._begin, *self._template.head, *ids, *self._template.tail, self._image]

    def _inner(self, prompt: str) -> Ids:
        """The ids of a prompt and of what is read together with it, all of them."""
        return self._pieces.encode(self._template.before + prompt.strip() + self._template.behind)

    def _unread(self, prompt: str) -> int:
        return max(len(self._inner(prompt)) - self._room, 0)

    def padded(self, ids: Ids) -> Condition:
        """At most T ids as a condition, padded on the left."""
        values, mask = np.full(self._length, self._pad, np.int32), np.zeros(self._length, np.int32)
        values[self._length - len(ids) :], mask[self._length - len(ids) :] = ids, 1
        return Condition(values, mask)

    def nothing(self, ids: Ids) -> Condition:
        """No text, as long as `ids`: its padding is looked at."""
        return self.padded([ids[0], *[self._pad] * (len(ids) - 2), ids[-1]])

    def _encoded(self, prompt: str, negative: str | None) -> EncodedPrompt:
        ids = self.ids(prompt)
        other = self.ids(negative) if negative else ids
        uncondition = self.padded(other) if negative else self.nothing(ids)
        return EncodedPrompt(
            condition=self.padded(ids),
            uncondition=None if negative is None else uncondition,
            words=whole_words(prompt.strip(), lambda text: len(self._inner(text)), self._room),
            num_tokens=len(ids),
            num_negative_tokens=len(other) if negative else 0,
            num_unread=self._unread(prompt),
            num_negative_unread=self._unread(negative) if negative else 0,
        )

    def _split(self, before: str, behind: str) -> Template:
        """What was added to the vocabulary is an id of its own; what lies nearest to the prompt is read with it."""
        *head, before = self._pieces.split(before)
        behind, *tail = self._pieces.split(behind)
        return Template(self._ids_of(head, 0), before, behind, self._ids_of(tail, 1))

    def _ids_of(self, parts: list[str], texts: int) -> Ids:
        """Ids of texts and added pieces in turns; `texts` is 0 where a text comes first, else 1."""
        each = (
            self._pieces.encode(part) if i % 2 == texts else [self._pieces.id_of(part)] for i, part in enumerate(parts)
        )
        return [id for ids in each for id in ids]
