"""A model folder's tokenizer files → texts as token ids of one length.

transformers reads the files. It is imported with the first tokenizer that is opened, since processes that read no text
would pay half a second for it. Imports no JAX.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32

from model_core.errors import CorruptCheckpoint, InvalidValue, UnsupportedConfig
from model_core.weights.json_files import read_json

TextTokens = Int32[np.ndarray, "B T"]

_WHOLE = "tokenizer.json"
_PARTS = ("vocab.json", "merges.txt")
_SPECIALS = ("tokenizer_config.json", "special_tokens_map.json")


class Tokenizer:
    """Turns prompts into right-padded text tokens [B, T]; safe to share between threads.

    Attributes:
      max_length: T, bos and eos included.
      vocab_size: every id is below it.
      normalize: what is made of a prompt before it is cut into tokens.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        kind: Literal["BartTokenizer", "CLIPTokenizer", "PreTrainedTokenizerFast"],
        max_length: int,
        vocab_size: int,
        normalize: Callable[[str], str] = str,
        needed: Sequence[str] = ("bos_token", "eos_token", "pad_token"),
        reads_specials: bool = True,
    ):
        """Reads tokenizer.json, or vocab.json and merges.txt where there is none; never asks the network.

        Args:
          kind: transformers' class that knows what the files leave open: how vocab.json and merges.txt are used, and
            which tokens are special where no file says so.
          max_length: every text gets this length, bos and eos included.
          vocab_size: rows of the model's embedding table.
          needed: what the files must say.
          reads_specials: whether the name of a special token, in a text, is that token.

        Raises:
          CorruptCheckpoint: a file is missing or not in its format, or the tokens do not fit the model.
          UnsupportedConfig: a size is no integer from 3 up.
        """
        for name, size in (("the text's length", max_length), ("the vocabulary's size", vocab_size)):
            if type(size) is not int or size < 3:
                raise UnsupportedConfig(f"{name} in config.json is {size!r}; it must be an integer from 3 up.")
        self.max_length = max_length
        self.vocab_size = vocab_size
        self.normalize = normalize
        tokenizer = _read(Path(folder), kind, needed)
        _check_vocabulary(Path(folder), tokenizer, vocab_size)
        # What transformers wraps is called itself: the wrapper may set truncation and padding in any call, which is not
        # safe between threads. In the wrapped object they are set once.
        self._backend = tokenizer.backend_tokenizer
        self._backend.encode_special_tokens = not reads_specials
        self._backend.enable_truncation(max_length)
        self._backend.enable_padding(length=max_length, pad_token=tokenizer.pad_token, pad_id=tokenizer.pad_token_id)

    def __call__(self, prompts: Sequence[str]) -> tuple[TextTokens, TextTokens]:
        """Turns prompts into (text_tokens, text_mask): `normalize`, then `encode`.

        Raises:
          InvalidValue: `prompts` is not a sequence of strings.
        """
        if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
            raise InvalidValue("Tokenizer takes a list of strings, one for each prompt.", "prompt")
        return self.encode([self.normalize(prompt) for prompt in prompts])

    def unconditional(self, batch: int) -> tuple[TextTokens, TextTokens]:
        """Gives `batch` rows of the empty text, not normalised: bos, eos, padding."""
        return self.encode([""] * batch)

    def encode(self, texts: Sequence[str]) -> tuple[TextTokens, TextTokens]:
        """Turns texts, taken as they are, into (text_tokens, text_mask).

        Tokens beyond T are cut off, eos stays last. The mask is 1 for real tokens, bos and eos among them. What is not
        valid unicode (lone surrogates) becomes U+FFFD; nothing else is refused, whatever its length.
        """
        # One by one: the library's batches start a thread pool, which is not worth it for a handful of texts.
        rows = [self._backend.encode(_valid(text)) for text in texts]
        shape = (len(rows), self.max_length)
        text_tokens = np.array([row.ids for row in rows], np.int32).reshape(shape)
        text_mask = np.array([row.attention_mask for row in rows], np.int32).reshape(shape)
        return text_tokens, text_mask

    def cut(self, text: str) -> tuple[str, int]:
        """Says how far `encode` reads a text: the part that it reads, and the number of tokens that it leaves out."""
        row = self._backend.encode(_valid(text))
        if not row.overflowing:
            return text, 0
        end = max(end for _, end in row.offsets)
        return _valid(text)[:end], sum(len(more) - sum(more.special_tokens_mask) for more in row.overflowing)


def _valid(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _read(folder: Path, kind: str, needed: Sequence[str]) -> Any:
    """transformers' tokenizer of a folder."""
    names = [name for name in (_WHOLE, *_PARTS, *_SPECIALS) if (folder / name).is_file()]
    if _WHOLE not in names and not set(_PARTS) <= set(names):
        parts = " and ".join(_PARTS)
        raise CorruptCheckpoint(f"{folder} holds neither {_WHOLE} nor {parts}. Download or copy them again.")
    for name in set(_SPECIALS) & set(names):
        read_json(folder, name)  # its errors name the file
    if _WHOLE in names and set(_SPECIALS) & set(names):
        kind = "PreTrainedTokenizerFast"  # takes the file as it is; the others put rules of their own in its place
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # or it tells every process to get PyTorch
    import transformers

    try:
        tokenizer = getattr(transformers, kind).from_pretrained(folder, local_files_only=True)
        missing = [role for role in needed if getattr(tokenizer, role) is None]
    except Exception as err:  # the libraries raise nothing more precise
        raise CorruptCheckpoint(
            f"{folder}: no tokenizer can be made of {', '.join(names)} ({err}). Download or copy them again."
        ) from err
    if missing:
        raise CorruptCheckpoint(f"{folder}: none of {', '.join(names)} says what {' and '.join(missing)} is.")
    return tokenizer


def _check_vocabulary(folder: Path, tokenizer: Any, vocab_size: int) -> None:
    """Refuses a tokenizer made for another model: its ids would read past the embedding table."""
    needed = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
    unneeded = set(tokenizer.all_special_tokens) - needed  # published BARTs lack a row for <mask>
    _check_ids(folder, (i for token, i in tokenizer.get_vocab().items() if token not in unneeded), vocab_size)


def _check_ids(folder: Path, ids: Iterable[int], vocab_size: int) -> None:
    highest = max(ids, default=-1)
    if highest >= vocab_size:
        raise CorruptCheckpoint(
            f"{folder}: the tokenizer has ids up to {highest}, config.json says {vocab_size} tokens. "
            "The two belong to different models."
        )


class Pieces:
    """A folder's tokenizer.json, for whoever puts special tokens in by itself: texts as ids, and ids of pieces.

    Unlike a `Tokenizer` it reads no special token in any text, and neither pads nor cuts. Threads may share it.
    """

    def __init__(self, folder: str | os.PathLike, vocab_size: int):
        """Reads the file as it is, whatever class the folder's other files name.

        Args:
          vocab_size: rows of the model's embedding table.

        Raises:
          CorruptCheckpoint: the file is missing or not in its format, or has ids beyond the model.
        """
        from tokenizers import Tokenizer as Backend

        folder = Path(folder)
        self._path = folder / _WHOLE
        content = read_json(folder, _WHOLE)
        try:
            whole = Backend.from_str(json.dumps(content))
            added = [str(token["content"]) for token in content.get("added_tokens") or []]
            plain = content | {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
            self._backend = Backend.from_str(json.dumps(plain))
        except Exception as err:  # the library raises nothing more precise
            raise CorruptCheckpoint(
                f"{self._path}: no tokenizer can be made of it ({err}). Download or copy it again."
            ) from err
        self._ids = whole.get_vocab()
        self._added = re.compile(f"({'|'.join(re.escape(piece) for piece in sorted(added, key=len, reverse=True))})")
        _check_ids(folder, self._ids.values(), vocab_size)

    def encode(self, text: str) -> list[int]:
        """Turns a text into ids. What is not valid unicode (lone surrogates) becomes U+FFFD."""
        return self._backend.encode(_valid(text), add_special_tokens=False).ids

    def id_of(self, piece: str) -> int:
        """The id of a piece of the vocabulary; raises CorruptCheckpoint where there is none."""
        if piece not in self._ids:
            raise CorruptCheckpoint(f"{self._path} has no token {piece}, which this model needs.")
        return self._ids[piece]

    def split(self, text: str) -> list[str]:
        """Splits a template at the pieces that were added to the vocabulary: text, piece, text, …, text."""
        return self._added.split(text)
