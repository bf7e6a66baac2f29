"""The configuration of DALLE-pytorch's DiscreteVAE: config.json → sizes. Imports no JAX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_core.errors import UnsupportedConfig
from model_core.families.conditions import Grid
from model_core.weights.json_files import read_json, require_integers

_HALVES = [0.5, 0.5, 0.5]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscreteVAEConfig:
    """The architecture, with the names of the reference's hparams.

    Attributes:
      num_layers: how often a picture is halved.
      num_tokens: C, codebook size.
    """

    image_size: int
    num_tokens: int
    codebook_dim: int
    num_layers: int
    hidden_dim: int
    num_resnet_blocks: int

    @property
    def grid(self) -> Grid:
        """The codes of one picture."""
        side = self.image_size // 2**self.num_layers
        return Grid(side, side, self.num_tokens)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of one picture in pixels."""
        return self.image_size, self.image_size

    @property
    def round_pixels(self) -> bool:
        """Fractions are dropped; the reference stretches what it saves to its own darkest and lightest instead."""
        return False

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "DiscreteVAEConfig":
        """Reads hparams; what is absent has the default of the reference's class.

        Raises:
          UnsupportedConfig: a value is not implemented; names it, and says what is allowed.
        """
        place = "DiscreteVAE config"
        defaults = {"image_size": 256, "num_tokens": 512, "codebook_dim": 512, "num_layers": 3, "hidden_dim": 64}
        sizes = {name: raw.get(name, default) for name, default in defaults.items()}
        blocks = {"num_resnet_blocks": raw.get("num_resnet_blocks", 0)}
        require_integers(place, sizes)
        require_integers(place, blocks, lowest=0)
        normalization = raw.get("normalization", [_HALVES, _HALVES])
        for name, value, only in (
            ("channels", raw.get("channels", 3), 3),
            ("normalization", normalization, [_HALVES, _HALVES]),
        ):
            if value != only:
                raise UnsupportedConfig(f"{place}: {name} is {value!r:.100}; only {only!r} is supported.")
        if sizes["num_layers"] > 16 or sizes["image_size"] % 2 ** sizes["num_layers"]:
            raise UnsupportedConfig(
                f"{place}: image_size is {sizes['image_size']}; it must be a multiple of 2 ** {sizes['num_layers']}, "
                "for num_layers says how often it is halved, 16 times at most."
            )
        return cls(**sizes, **blocks)


def read_config(folder: Path) -> DiscreteVAEConfig:
    """Reads a folder's config.json; raises ModelNotFound or CorruptCheckpoint too, where it is not there or no JSON."""
    return DiscreteVAEConfig.from_dict(read_json(folder, "config.json"))
