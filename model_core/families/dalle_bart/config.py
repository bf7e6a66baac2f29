"""The configuration of a DalleBart: config.json → sizes. Imports no JAX.

After dalle-mini 0.1.5 (github.com/borisdayma/dalle-mini), the settings that the public mini and mega use.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.weights.json_files import read_json, require_integers, require_numbers

# What the published models say and this code computes. A key that is absent means this value too.
_ONLY: dict[str, Any] = {
    "model_type": "dallebart",
    "activation_function": "gelu",
    "force_ln_scale": False,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "is_encoder_decoder": True,
    "ln_positions": "normformer",
    "ln_type": "layernorm",
    "scale_embedding": False,
    "sinkhorn_iters": 1,
    "tie_word_embeddings": False,
    "use_absolute_position_embeddings": True,
    "use_alibi": False,
    "use_bias": False,
    "use_cosine_attention": False,
    "use_deepnet_scaling": False,
    "use_final_ln_decoder": True,
    "use_final_ln_encoder": True,
    "use_glu": True,
    "use_head_scale": False,
    "use_swin_position_embeddings": False,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DalleBartConfig:
    """The sizes of one DalleBart, named as in its config.json.

    Attributes:
      d_model: D, the width of both sides; each side's head count divides it.
      image_vocab_size: codes it can name; logits are one wider, as the published heads are.
      image_length: N, codes of one image.
      max_text_length: T, the longest text.
      decoder_start_token_id: the id before the first code; at most `image_vocab_size`.
      eos_token_id: never drawn. Published models have one outside the vocabulary, which changes nothing.
      init_std: standard deviation of fresh parameters; of use to training only.
    """

    encoder_vocab_size: int
    image_vocab_size: int
    image_length: int
    max_text_length: int
    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    decoder_layers: int
    decoder_attention_heads: int
    decoder_ffn_dim: int
    decoder_start_token_id: int
    eos_token_id: int
    init_std: float = 0.02

    def __post_init__(self):
        for side in ("encoder", "decoder"):
            heads = getattr(self, f"{side}_attention_heads")
            if self.d_model % heads:
                raise UnsupportedConfig(
                    f"{side}_attention_heads is {heads}, which does not divide d_model {self.d_model}."
                )
        if self.decoder_start_token_id > self.image_vocab_size:
            raise UnsupportedConfig(
                f"decoder_start_token_id is {self.decoder_start_token_id}; it can be at most image_vocab_size, "
                f"which is {self.image_vocab_size}."
            )

    @property
    def grid(self) -> Grid:
        """The codes of one image. config.json says only how many; all published models draw squares.

        Raises:
          UnsupportedConfig: there is no square of so many codes.
        """
        side = math.isqrt(self.image_length)
        if side**2 != self.image_length:
            raise UnsupportedConfig(f"image_length is {self.image_length}; it must be the square of an integer.")
        return Grid(side, side, self.image_vocab_size)

    @property
    def condition_shape(self) -> tuple[int, int]:
        """Of the values of a `Condition`: encoder states [T, D]."""
        return self.max_text_length, self.d_model

    @property
    def guides(self) -> bool:
        """It was trained without text, too."""
        return True

    @property
    def default_sampling(self) -> Mapping[str, float]:
        """Of the inference notebook of dalle-mini, whose config has top_k 50."""
        return {"guidance_scale": 10.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0}

    @property
    def logits_width(self) -> int:
        """V: one more than the codes; the published start token sits at the end."""
        return self.image_vocab_size + 1

    @property
    def encoder_sizes(self) -> tuple[int, int, int, float]:
        """The fields of an `EncoderLayer`."""
        return self.d_model, self.encoder_attention_heads, self.encoder_ffn_dim, self.init_std

    @property
    def decoder_sizes(self) -> tuple[int, int, int, float]:
        """The fields of a `DecoderLayer`."""
        return self.d_model, self.decoder_attention_heads, self.decoder_ffn_dim, self.init_std

    @classmethod
    def of_size(
        cls,
        *,
        width: int,
        heads: int,
        ffn: int,
        layers: tuple[int, int],
        codes: int,
        length: int,
        words: int,
        text: int,
    ) -> "DalleBartConfig":
        """Both sides alike but for their numbers of layers; special ids as in the public mini."""
        return cls(
            encoder_vocab_size=words,
            image_vocab_size=codes,
            image_length=length,
            max_text_length=text,
            d_model=width,
            encoder_layers=layers[0],
            encoder_attention_heads=heads,
            encoder_ffn_dim=ffn,
            decoder_layers=layers[1],
            decoder_attention_heads=heads,
            decoder_ffn_dim=ffn,
            decoder_start_token_id=codes,
            eos_token_id=codes + 1,
        )

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "DalleBartConfig":
        """Reads a parsed config.json; keys that do not change the computation are passed over.

        Raises:
          UnsupportedConfig: a size is missing or makes no sense, or a setting has a value that is not implemented.
        """
        for key, value in _ONLY.items():
            if raw.get(key, value) != value:
                raise UnsupportedConfig(f"{key} is {raw[key]!r}; only {value!r} is implemented.")
        known = {field.name: raw[field.name] for field in dataclasses.fields(cls) if field.name in raw}
        after_codes = raw.get("image_vocab_size")  # the reference's default for special ids
        sizes = {"decoder_start_token_id": after_codes, "eos_token_id": after_codes, **known}
        missing = [
            f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING and sizes.get(f.name) is None
        ]
        if missing:
            raise UnsupportedConfig(f"The configuration lacks {', '.join(missing)}.")
        for field in dataclasses.fields(cls):
            if field.type is int:
                lowest = 0 if field.name.endswith("_token_id") else 1
                require_integers("DalleBart config", {field.name: sizes[field.name]}, lowest)
        if "init_std" in sizes:
            require_numbers("DalleBart config", {"init_std": sizes["init_std"]})
        every_code = sizes["image_length"] + 1  # eos is never drawn only if the shortest sequence is a whole image
        if raw.get("min_length", every_code) != every_code:
            raise UnsupportedConfig(
                f"min_length is {raw['min_length']!r}; only image_length + 1 = {every_code} is implemented."
            )
        return cls(**sizes)


def read_config(folder: Path) -> DalleBartConfig:
    """Reads a folder's config.json; raises ModelNotFound or CorruptCheckpoint too, where it is not there or no JSON."""
    return DalleBartConfig.from_dict(read_json(folder, "config.json"))
