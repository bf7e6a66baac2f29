"""Caption → tokens → encoder states, on the right of `CAPTION_LENGTH` positions, as LlamaGen was trained on them.

What needs JAX is imported with the encoder's weights. No caption is zeros, under the mask of the prompt beside it:
LlamaGen has a learned one to put there, which looks at as many positions.

Provenance: `sample_t2i.py` and `language/t5.py` of FoundationVision/LlamaGen.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model_core.batches import batches
from model_core.families.conditions import Condition, EncodedPrompt
from model_core.families.llama.llamagen.config import CAPTION_LENGTH
from model_core.families.llama.t5.captions import cleaned
from model_core.families.llama.t5.config import read_config
from model_core.tokenizer import TextTokens, Tokenizer

Encode = Callable[[TextTokens, TextTokens], Any]  # (text_tokens, text_mask) → states [B, T, D]


def open_text(folder: Path, dtype: str = "float32", *, batch_size: int = 8, place: Any = None) -> "CaptionText":
    """Loads the tokenizer and the encoder.

    Args:
      dtype: what the encoder is held and computed in; conditions are float32.
      batch_size: captions in one call of the encoder, whatever their number; on a CPU it is 1.
      place: as in `checkpoint.load_params`.

    Raises: as `open_tokenizer` and `families.load`.
    """
    from model_core import families

    tokenizer = open_tokenizer(folder)
    family, config, params = families.load(folder, dtype, role="text", place=place)
    one_by_one = next(iter(params["norm"].devices())).platform == "cpu"  # there several take as long as each by itself
    return CaptionText(tokenizer, partial(family.encode, config, params), 1 if one_by_one else batch_size)


def open_tokenizer(folder: Path) -> Tokenizer:
    """Reads tokenizer.json as it is. Raises as `Tokenizer`."""
    return Tokenizer(
        folder,
        "PreTrainedTokenizerFast",  # transformers' class for T5 makes other ids of the same file
        max_length=CAPTION_LENGTH,
        vocab_size=read_config(Path(folder)).vocabulary,
        normalize=cleaned,
        needed=("eos_token", "pad_token"),
        reads_specials=False,
    )


class CaptionText:
    """Turns captions into conditions: encoder states. What comes out for a text depends on no other."""

    def __init__(self, tokenizer: Tokenizer, encode: Encode, batch_size: int):
        """`open_text` is the usual way."""
        self.tokenizer = tokenizer
        self._encode = encode
        self._batch_size = batch_size

    def __call__(self, prompt: str, negative: str | None = None) -> tuple[Condition, Condition]:
        """Turns a prompt and what guidance is to lead away from, if not from no caption at all, into two conditions."""
        (encoded,) = self.encode([(prompt, negative or "")])
        assert encoded.uncondition is not None  # "" and any other text have one
        return encoded.condition, encoded.uncondition

    def encode(self, pairs: Sequence[tuple[str, str | None]]) -> list[EncodedPrompt]:
        """Encodes (prompt, negative prompt) pairs, all captions in batches of one size, each once."""
        prompts = [prompt for prompt, _ in pairs]
        conditions = self._conditions(list(dict.fromkeys([*prompts, *(negative for _, negative in pairs if negative)])))
        read = {text: self.tokenizer.cut(self.tokenizer.normalize(text)) for text in conditions}
        return [
            EncodedPrompt(
                condition=conditions[prompt],
                uncondition=None if negative is None else conditions.get(negative) or _nothing(conditions[prompt]),
                words=read[prompt][0].strip(),
                num_tokens=int(conditions[prompt].mask.sum()),
                num_negative_tokens=int(conditions[negative].mask.sum()) if negative else 0,
                num_unread=read[prompt][1],
                num_negative_unread=read[negative][1] if negative else 0,
            )
            for prompt, negative in pairs
        ]

    def _conditions(self, texts: list[str]) -> dict[str, Condition]:
        if not texts:
            return {}
        tokens, mask = self.tokenizer(texts)
        parts = [
            np.asarray(self._encode(tokens[rows], mask[rows]), np.float32)[:count]
            for rows, count in batches(len(tokens), self._batch_size)
        ]
        return dict(zip(texts, map(padded_left, np.concatenate(parts), mask), strict=True))


def padded_left(states: Any, mask: Any) -> Condition:
    """Moves the real states of a text [T, D] to its end, and makes the rest zeros."""
    count = int(mask.sum())
    values, moved = np.zeros_like(states), np.zeros_like(mask)
    values[len(states) - count :], moved[len(states) - count :] = states[:count], 1
    return Condition(values, moved)


def _nothing(prompt: Condition) -> Condition:
    return Condition(np.zeros_like(prompt.values), prompt.mask)
