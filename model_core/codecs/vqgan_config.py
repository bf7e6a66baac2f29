"""The configuration of a VQGAN: config.json → sizes. Imports no JAX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.weights.json_files import read_json


@dataclass(frozen=True, slots=True, kw_only=True)
class VQGANConfig:
    """The architecture, with the names of a published `config.json`."""

    resolution: int
    n_embed: int  # C, codebook size
    embed_dim: int  # E, codebook vector size
    z_channels: int
    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    attn_resolutions: tuple[int, ...]
    in_channels: int = 3
    out_ch: int = 3
    resamp_with_conv: bool = True
    norm_num_groups: int = 32  # not in the published files, which all use 32; smaller models need fewer

    @property
    def grid(self) -> Grid:
        """The codes of one picture."""
        side = self.resolution // 2 ** (len(self.ch_mult) - 1)
        return Grid(side, side, self.n_embed)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of one picture in pixels."""
        return self.resolution, self.resolution

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "VQGANConfig":
        """Reads a published config.

        Raises:
          UnsupportedConfig: a key is missing, or a value asks for something that is not implemented.
        """
        for key, supported in (("double_z", False), ("give_pre_end", False), ("in_channels", 3), ("out_ch", 3)):
            if raw.get(key, supported) != supported:
                raise UnsupportedConfig(f"VQGAN config: {key}={raw[key]!r} is not supported, only {supported!r} is.")
        names = ("resolution", "n_embed", "embed_dim", "z_channels", "ch", "num_res_blocks")
        missing = [name for name in (*names, "ch_mult", "attn_resolutions") if name not in raw]
        if missing:
            raise UnsupportedConfig(f"VQGAN config: missing {', '.join(missing)}.")
        config = cls(
            **{name: int(raw[name]) for name in names},
            ch_mult=tuple(raw["ch_mult"]),
            attn_resolutions=tuple(raw["attn_resolutions"]),
            resamp_with_conv=bool(raw.get("resamp_with_conv", True)),
            norm_num_groups=int(raw.get("norm_num_groups", 32)),
        )
        if config.ch % config.norm_num_groups:
            raise UnsupportedConfig(
                f"VQGAN config: ch={config.ch} is no multiple of {config.norm_num_groups} norm groups."
            )
        return config


def read_config(folder: Path) -> VQGANConfig:
    """Reads a folder's config.json; raises ModelNotFound or CorruptCheckpoint too, where it is not there or no JSON."""
    return VQGANConfig.from_dict(read_json(folder, "config.json"))
