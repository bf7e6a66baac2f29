"""The configuration of OpenAI's dVAE: config.json → sizes. Imports no JAX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.weights.json_files import read_json, require_integers

GROUPS = 4  # of blocks; between them a picture is halved, or doubled
_HALVINGS = GROUPS - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIDVAEConfig:
    """The architecture.

    Attributes:
      resolution: the side of a picture in pixels; any multiple of 8 would do, the published one was trained on 256.
      encoder_width, decoder_width: channels at the largest pictures (`n_hid`).
      encoder_blocks, decoder_blocks: blocks of each group (`n_blk_per_group`).
      first_width: channels that a code becomes (`n_init`).
    """

    resolution: int = 256
    vocab_size: int = 8192
    encoder_width: int = 256
    encoder_blocks: int = 2
    decoder_width: int = 256
    decoder_blocks: int = 2
    first_width: int = 128

    @property
    def grid(self) -> Grid:
        """The codes of one picture."""
        side = self.resolution // 2**_HALVINGS
        return Grid(side, side, self.vocab_size)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of one picture in pixels."""
        return self.resolution, self.resolution

    @property
    def round_pixels(self) -> bool:
        """The reference drops fractions."""
        return False

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "OpenAIDVAEConfig":
        """Reads a converted config: `resolution`, and the arguments of the two networks as `encoder` and `decoder`.

        Raises:
          UnsupportedConfig: a value is missing or not implemented; names it, and says what is allowed.
        """
        sides = {side: raw.get(side) for side in ("encoder", "decoder")}
        for side, values in sides.items():
            if not isinstance(values, dict):
                raise UnsupportedConfig(f"dVAE config: {side} is {values!r:.100}; it must be an object.")
        encoder, decoder = sides["encoder"] or {}, sides["decoder"] or {}
        for place, value, only in (
            ("encoder.group_count", encoder.get("group_count", GROUPS), GROUPS),
            ("decoder.group_count", decoder.get("group_count", GROUPS), GROUPS),
            ("encoder.input_channels", encoder.get("input_channels", 3), 3),
            ("decoder.output_channels", decoder.get("output_channels", 3), 3),
            ("decoder.vocab_size", decoder.get("vocab_size", 8192), encoder.get("vocab_size", 8192)),
        ):
            if value != only:
                raise UnsupportedConfig(f"dVAE config: {place} is {value!r:.100}; only {only!r:.100} is supported.")
        sizes = {
            "resolution": raw.get("resolution", 256),
            "encoder.vocab_size": encoder.get("vocab_size", 8192),
            "encoder.n_hid": encoder.get("n_hid", 256),
            "encoder.n_blk_per_group": encoder.get("n_blk_per_group", 2),
            "decoder.n_hid": decoder.get("n_hid", 256),
            "decoder.n_blk_per_group": decoder.get("n_blk_per_group", 2),
            "decoder.n_init": decoder.get("n_init", 128),
        }
        require_integers("dVAE config", sizes)
        for name, multiple in (("resolution", 2**_HALVINGS), ("encoder.n_hid", 4), ("decoder.n_hid", 4)):
            if sizes[name] % multiple:
                raise UnsupportedConfig(f"dVAE config: {name} is {sizes[name]}; it must be a multiple of {multiple}.")
        return cls(**dict(zip(cls.__dataclass_fields__, sizes.values(), strict=True)))


def read_config(folder: Path) -> OpenAIDVAEConfig:
    """Reads a folder's config.json; raises ModelNotFound or CorruptCheckpoint too, where it is not there or no JSON."""
    return OpenAIDVAEConfig.from_dict(read_json(folder, "config.json"))
