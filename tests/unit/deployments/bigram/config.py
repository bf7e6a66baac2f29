"""The configuration of a bigram: how many codes there are, and how many letters of a prompt it reads."""

from dataclasses import dataclass
from pathlib import Path

from model_core.families.conditions import Grid
from model_core.weights.json_files import read_json


@dataclass(frozen=True, slots=True, kw_only=True)
class BigramConfig:
    side: int
    codebook: int
    text_length: int

    @property
    def grid(self) -> Grid:
        return Grid(self.side, self.side, self.codebook)

    @property
    def guides(self) -> bool:
        return True

    @property
    def default_sampling(self) -> dict[str, float]:
        return {"guidance_scale": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

    @property
    def condition_shape(self) -> tuple[int, ...]:
        return (self.text_length,)


def read_config(folder: Path) -> BigramConfig:
    raw = read_json(folder, "config.json")
    return BigramConfig(side=raw["side"], codebook=raw["codebook"], text_length=raw["text_length"])
