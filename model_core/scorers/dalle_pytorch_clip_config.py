"""The configuration of DALLE-pytorch's own CLIP: config.json → sizes. Imports no JAX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_core.errors import UnsupportedConfig
from model_core.weights.json_files import read_json, require_integers

HEAD_WIDTH = 64  # of every head; the reference lets no one set it
TOKENIZERS = ("simple", "hug", "yttm")
_DEFAULTS = {
    "dim_text": 512,
    "dim_image": 512,
    "dim_latent": 512,
    "num_text_tokens": 10000,
    "text_enc_depth": 6,
    "text_seq_len": 256,
    "text_heads": 8,
    "visual_enc_depth": 6,
    "visual_heads": 8,
    "visual_image_size": 256,
    "visual_patch_size": 32,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DallePytorchCLIPConfig:
    """The architecture, with the names of the reference's arguments.

    Attributes:
      tokenizer: "simple" (CLIP's file of merges), "hug" (a JSON of the library tokenizers) or "yttm" (youtokentome's).
      tokenizer_file: its name, of a file beside config.json.
    """

    dim_text: int
    dim_image: int
    dim_latent: int
    num_text_tokens: int
    text_enc_depth: int
    text_seq_len: int
    text_heads: int
    visual_enc_depth: int
    visual_heads: int
    visual_image_size: int
    visual_patch_size: int
    tokenizer: str
    tokenizer_file: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures that it looks at."""
        return self.visual_image_size, self.visual_image_size

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "DallePytorchCLIPConfig":
        """Reads `hparams`, where what is absent has the reference's default, and `tokenizer`.

        Raises:
          UnsupportedConfig: a value is not implemented; names it, and says what is allowed.
        """
        place = "DALLE-pytorch's CLIP config"
        hparams, tokenizer = raw.get("hparams"), raw.get("tokenizer", {"kind": "hug", "file": "bpe.json"})
        for name, section in (("hparams", hparams), ("tokenizer", tokenizer)):
            if not isinstance(section, dict):
                raise UnsupportedConfig(f"{place}: {name} is {section!r:.100}; it must be an object.")
        sizes = {name: (hparams or {}).get(name, default) for name, default in _DEFAULTS.items()}
        require_integers(place, sizes)
        side, patch = sizes["visual_image_size"], sizes["visual_patch_size"]
        if side % patch:
            raise UnsupportedConfig(f"{place}: visual_patch_size is {patch}; it must be a divisor of {side}.")
        kind, file = tokenizer.get("kind"), tokenizer.get("file")
        if kind not in TOKENIZERS:
            raise UnsupportedConfig(
                f"{place}: tokenizer.kind is {kind!r:.100}; it must be one of {', '.join(TOKENIZERS)}."
            )
        if not isinstance(file, str) or file != Path(file).name or not file:
            raise UnsupportedConfig(
                f"{place}: tokenizer.file is {file!r:.100}; it must be the name of a file beside it."
            )
        return cls(**sizes, tokenizer=kind, tokenizer_file=file)


def read_config(folder: Path) -> DallePytorchCLIPConfig:
    """Reads a folder's config.json; raises ModelNotFound or CorruptCheckpoint too, where it is not there or no JSON."""
    return DallePytorchCLIPConfig.from_dict(read_json(folder, "config.json"))
