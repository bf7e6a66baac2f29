"""Trains the text tokenizers of the shipped models, in exactly the files that the public models come with.

Both are byte-level BPE: every text can be written with the alphabet of 256 bytes, so an unseen word falls into pieces,
never into an unknown token. What it learns from should look as the model will see it.

Formats: BART's tokenizer as in the public dalle-mini folder; CLIP's as in the public ViT-B/32 folder.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from model_core.errors import InvalidValue
from model_core.training.data import Dataset
from model_core.training.encoded import EncodedDataset

WORDS = "words.txt"  # more text beside a data set, one phrase a line: words that its prompts do not use
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
BART_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
CLIP_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
CLIP_SUFFIX = "</w>"


def read_corpus(dataset: Dataset | EncodedDataset) -> list[str]:
    """All prompts of the data set, and the phrases of its `words.txt` where there is one."""
    corpus = [prompt for item in dataset.items for prompt, _ in item.prompts]
    words = dataset.folder / WORDS
    return corpus + (words.read_text(encoding="utf-8").splitlines() if words.is_file() else [])


def train_tokenizer(prompts: Iterable[str], folder: Path, vocab_size: int = 1024, max_length: int = 64) -> int:
    """Trains DalleBart's tokenizer and writes its files into `folder`.

    Args:
      prompts: as the normaliser returns them, with its leading space.
      vocab_size: upper limit, special tokens and bytes included.
      max_length: most tokens of a prompt, `<s>` and `</s>` included.

    Returns:
      the number of tokens, which is less than `vocab_size` where the text is short of repeated pairs.

    Raises:
      InvalidValue: `vocab_size` does not hold the special tokens and the bytes.
    """
    first = [*BART_SPECIALS, *ALPHABET]
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocab, merges = _learn(tokenizer, prompts, first, vocab_size)
    tokenizer.model = models.BPE(vocab=vocab, merges=merges, continuing_subword_prefix="", end_of_word_suffix="")
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", vocab["</s>"]), ("<s>", vocab["<s>"]), trim_offsets=True, add_prefix_space=False
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, lstrip=token == "<mask>") for token in BART_SPECIALS])
    names = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
    contents = ("<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>")
    specials: dict[str, Any] = {f"{name}_token": content for name, content in zip(names, contents, strict=True)}
    config = {"errors": "replace", "add_prefix_space": False, "trim_offsets": True, "tokenizer_class": "BartTokenizer"}
    _write(folder, tokenizer, merges, specials, config | {"model_max_length": max_length})
    return len(vocab)


def train_clip_tokenizer(prompts: Iterable[str], folder: Path, vocab_size: int = 1024, max_length: int = 77) -> int:
    """Trains CLIP's tokenizer and writes its files into `folder`; it lower-cases by itself.

    Args:
      prompts: as a user types them.
      vocab_size, max_length: as for `train_tokenizer`, whose number and errors it gives too. The end token has the
        largest id: CLIP pools there.
    """
    first = [*ALPHABET, *(letter + CLIP_SUFFIX for letter in ALPHABET)]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=CLIP_SUFFIX))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(CLIP_WORD), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    vocab, merges = _learn(tokenizer, prompts, first, vocab_size - 2, CLIP_SUFFIX)
    vocab |= {CLIP_START: len(vocab), CLIP_END: len(vocab) + 1}
    tokenizer.model = models.BPE(
        vocab=vocab, merges=merges, continuing_subword_prefix="", end_of_word_suffix=CLIP_SUFFIX, unk_token=CLIP_END
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (CLIP_END, vocab[CLIP_END]), (CLIP_START, vocab[CLIP_START]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([CLIP_START, CLIP_END])
    specials = {
        "bos_token": _plain_token(CLIP_START),
        "eos_token": _plain_token(CLIP_END),
        "pad_token": CLIP_END,
        "unk_token": _plain_token(CLIP_END),
    }
    config = {"errors": "replace", "tokenizer_class": "CLIPTokenizer", "model_max_length": max_length}
    _write(folder, tokenizer, merges, specials, config)
    return len(vocab)


def _learn(
    tokenizer: Tokenizer, prompts: Iterable[str], first: list[str], vocab_size: int, suffix: str = ""
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learns merges, and numbers the tokens: `first`, then what the merges make, in their order."""
    if vocab_size < len(first):
        raise InvalidValue(f"vocab_size is too small: special tokens and bytes alone take {len(first)}.", "vocab_size")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=ALPHABET, end_of_word_suffix=suffix, show_progress=False
    )
    tokenizer.train_from_iterator(prompts, trainer)
    vocab = {token: place for place, token in enumerate(first)}
    merges = []
    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        if len(vocab) == vocab_size:
            break
        merges.append((left, right))
        vocab.setdefault(left + right, len(vocab))
    return vocab, merges


def _plain_token(content: str) -> dict[str, Any]:
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def _write(
    folder: Path,
    tokenizer: Tokenizer,
    merges: list[tuple[str, str]],
    specials: dict[str, Any],
    config: dict[str, Any],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    vocab = dict(sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1]))
    typed = {  # transformers knows a token in this file by its type, in the other one by its place
        role: {"__type": "AddedToken"} | token if isinstance(token, dict) else token for role, token in specials.items()
    }
    contents = {"vocab.json": vocab, "special_tokens_map.json": specials, "tokenizer_config.json": config | typed}
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    lines = [f"{left} {right}\n" for left, right in merges]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(lines), encoding="utf-8")
