"""The configuration of a VQGAN: config.json → sizes. Imports no JAX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_core.codecs.vqgan_published import as_flat
from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.weights.json_files import read_json, require_integers

LOOKUPS = ("nearest", "nearest_direction", "gumbel")


@dataclass(frozen=True, slots=True, kw_only=True)
class VQGANConfig:
    """The architecture, with the names of a published `config.json`.

    Attributes:
      lookup: which codebook vector a place of the grid is given: the nearest, the one of the nearest direction (all are
        brought to length 1, VQ-16), or the one of the highest logit (GumbelVQ, without its noise).
      signed_pixels: the network's pixels are -1…1, not 0…1.
      wavelet: the decoder makes the four bands of a Haar wavelet, a picture of twice `resolution`.
      round_pixels: finished pictures are rounded to whole steps of 255; else fractions are dropped.
    """

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
    lookup: str = "nearest"
    signed_pixels: bool = False
    wavelet: bool = False
    round_pixels: bool = False

    @property
    def grid(self) -> Grid:
        """The codes of one picture."""
        side = self.resolution // 2 ** (len(self.ch_mult) - 1)
        return Grid(side, side, self.n_embed)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of one picture in pixels."""
        side = self.resolution * (2 if self.wavelet else 1)
        return side, side

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "VQGANConfig":
        """Reads a config.json of the published Flax files, or one that was converted.

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
        sizes = {name: raw[name] for name in names} | {"norm_num_groups": raw.get("norm_num_groups", 32)}
        lists = {name: raw[name] for name in ("ch_mult", "attn_resolutions")}
        for name, values in lists.items():
            if not isinstance(values, list | tuple) or (name == "ch_mult" and not values):
                raise UnsupportedConfig(f"VQGAN config: {name} is {values!r:.100}; it must be a list of integers.")
            require_integers("VQGAN config", {f"{name}[{i}]": value for i, value in enumerate(values)})
        require_integers("VQGAN config", {name: size for name, size in sizes.items() if name != "num_res_blocks"})
        require_integers("VQGAN config", {"num_res_blocks": raw["num_res_blocks"]}, lowest=0)
        switches = {"resamp_with_conv": True, "signed_pixels": False, "wavelet": False, "round_pixels": False}
        switches = {name: raw.get(name, default) for name, default in switches.items()}
        for name, switch in switches.items():
            if not isinstance(switch, bool):
                raise UnsupportedConfig(f"VQGAN config: {name} is {switch!r:.100}; it must be true or false.")
        lookup = raw.get("lookup", LOOKUPS[0])
        if lookup not in LOOKUPS:
            raise UnsupportedConfig(f"VQGAN config: lookup is {lookup!r:.100}; it must be one of {', '.join(LOOKUPS)}.")
        if raw["ch"] % sizes["norm_num_groups"]:
            raise UnsupportedConfig(
                f"VQGAN config: ch={raw['ch']} is no multiple of {sizes['norm_num_groups']} norm groups."
            )
        halvings = len(raw["ch_mult"]) - 1
        if raw["resolution"] % 2**halvings:
            raise UnsupportedConfig(
                f"VQGAN config: resolution is {raw['resolution']}; it must be a multiple of 2 ** {halvings}, for "
                f"ch_mult halves it {halvings} times."
            )
        return cls(
            **sizes,
            ch_mult=tuple(raw["ch_mult"]),
            attn_resolutions=tuple(raw["attn_resolutions"]),
            lookup=lookup,
            **switches,
        )


def read_config(folder: Path) -> VQGANConfig:
    """Reads a folder's config.json; raises ModelNotFound or CorruptCheckpoint too, where it is not there or no JSON."""
    return VQGANConfig.from_dict(as_flat(read_json(folder, "config.json")))
