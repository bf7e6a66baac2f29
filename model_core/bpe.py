"""A folder's tokenizer files → a byte-level BPE that truncates and pads.

The `tokenizers` library is used directly: importing it through transformers costs every process two seconds.
Knows nothing of prompts or of the models' params.

Provenance: `BartTokenizerFast` and `CLIPTokenizerFast` of transformers 4.25.
"""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from model_core.errors import CorruptCheckpoint
from model_core.weights.json_files import read_json

_SPECIAL_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_BART_SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_CLIP_SPECIALS = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"} | dict.fromkeys(
    ("unk_token", "pad_token"), "<|endoftext|>"
)
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def read_bpe(folder: Path, is_clip: bool, max_text_length: int, vocab_size: int) -> Tokenizer:
    """Reads tokenizer.json, or vocab.json and merges.txt where there is none.

    Args:
      is_clip: CLIP's way of cutting text into words, in place of BART's; matters without a tokenizer.json.
      max_text_length: every encoding has this length, bos and eos included.
      vocab_size: rows of the model's embedding table.

    Raises:
      CorruptCheckpoint: a file is missing or not in its format, or the tokens do not fit the model.
    """
    specials = _read_specials(folder, is_clip)
    backend = _read_backend(folder, is_clip, specials)
    backend.add_special_tokens(list({token.content: token for token in specials.values()}.values()))
    _check_vocabulary(folder, backend, specials, vocab_size)
    pad_token = specials["pad_token"].content
    backend.enable_truncation(max_text_length)
    backend.enable_padding(length=max_text_length, pad_token=pad_token, pad_id=backend.token_to_id(pad_token))
    return backend


def _read_specials(folder: Path, is_clip: bool) -> dict[str, AddedToken]:
    """Role → special token, from special_tokens_map.json, else tokenizer_config.json, else as published."""
    specials: dict[str, Any] = dict(_CLIP_SPECIALS if is_clip else _BART_SPECIALS)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).exists():
            content = read_json(folder, name)
            specials |= {role: content[role] for role in _SPECIAL_ROLES if content.get(role)}
    return {role: _added_token(folder, role, value) for role, value in specials.items()}


def _added_token(folder: Path, role: str, value: Any) -> AddedToken:
    if isinstance(value, str):
        return AddedToken(value, special=True, normalized=False)
    try:
        flags = {flag: bool(value[flag]) for flag in ("single_word", "lstrip", "rstrip", "normalized") if flag in value}
        return AddedToken(value["content"], special=True, **flags)
    except (KeyError, TypeError) as err:
        raise CorruptCheckpoint(f"{folder}: {role} is {value!r}, which is no token.") from err


def _read_backend(folder: Path, is_clip: bool, specials: dict[str, AddedToken]) -> Tokenizer:
    whole, vocab, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    if not whole.is_file() and not (vocab.is_file() and merges.is_file()):
        raise CorruptCheckpoint(f"{folder} holds neither tokenizer.json nor vocab.json and merges.txt.")
    try:
        if whole.is_file():
            return Tokenizer.from_file(str(whole))
        bos, eos = specials["bos_token"].content, specials["eos_token"].content
        backend = _clip_backend(vocab, merges, eos) if is_clip else _bart_backend(vocab, merges)
        vocabulary = backend.get_vocab()
        backend.post_processor = processors.RobertaProcessing((eos, vocabulary[eos]), (bos, vocabulary[bos]))
    except Exception as err:  # the library raises nothing more precise
        name = whole.name if whole.is_file() else f"{vocab.name} or {merges.name}"
        raise CorruptCheckpoint(f"{folder}: {name} is not a tokenizer's ({err}). Download or copy it again.") from err
    return backend


def _bart_backend(vocab: Path, merges: Path) -> Tokenizer:
    """Byte-level BPE as BART's; the space before a word belongs to it."""
    backend = Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return backend


def _clip_backend(vocab: Path, merges: Path, unk_token: str) -> Tokenizer:
    """Byte-level BPE as CLIP's: lower case, one space like many, "</w>" after a word's last piece."""
    bpe = models.BPE.from_file(str(vocab), str(merges), unk_token=unk_token, end_of_word_suffix="</w>")
    backend = Tokenizer(bpe)
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return backend


def _check_vocabulary(folder: Path, backend: Tokenizer, specials: dict[str, AddedToken], vocab_size: int) -> None:
    """Refuses a tokenizer made for another model: its ids would read past the embedding table."""
    needed = {specials[role].content for role in ("bos_token", "eos_token", "pad_token")}
    unneeded = {token.content for token in specials.values()} - needed  # published BARTs lack a row for <mask>
    highest = max((i for token, i in backend.get_vocab().items() if token not in unneeded), default=-1)
    if highest >= vocab_size:
        raise CorruptCheckpoint(
            f"{folder}: the tokenizer has ids up to {highest}, config.json says {vocab_size} tokens. "
            "The two belong to different models."
        )
