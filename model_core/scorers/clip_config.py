"""The configuration of a CLIP: config.json and preprocessor_config.json → sizes. Imports no JAX."""

import math
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from model_core.errors import UnsupportedConfig
from model_core.weights.json_files import LARGEST, read_json, require_integers, require_numbers

ACTIVATIONS = ("gelu", "quick_gelu")
LARGEST_ID = 2  # the published files say eos_token_id 2, which is not their eos: with it the largest id is pooled


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerConfig:
    """The shape of one transformer, in the words of config.json."""

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self):
        is_divisible = self.hidden_size % self.num_attention_heads == 0
        _require(is_divisible, "num_attention_heads", self.num_attention_heads, f"a divisor of {self.hidden_size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig(TowerConfig):
    vocab_size: int
    max_position_embeddings: int
    eos_token_id: int = LARGEST_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig(TowerConfig):
    image_size: int
    patch_size: int
    num_channels: int = 3

    def __post_init__(self):
        TowerConfig.__post_init__(self)  # zero-argument super() is not to be had in a slots dataclass before 3.14
        _require(self.num_channels == 3, "num_channels", self.num_channels, "3")
        is_divisible = self.image_size % self.patch_size == 0
        _require(is_divisible, "patch_size", self.patch_size, f"a divisor of image_size {self.image_size}")


Tower = TypeVar("Tower", TextConfig, VisionConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessorConfig:
    """How a picture becomes the vision tower's input: preprocessor_config.json."""

    shortest_edge: int
    crop_size: int
    rescale_factor: float = 1 / 255
    image_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "PreprocessorConfig":
        """Reads both forms that are published, `"size": 224` and `"size": {"shortest_edge": 224}`."""
        for step in ("do_resize", "do_center_crop", "do_rescale", "do_normalize"):
            _require(raw.get(step, True) is True, step, raw.get(step), "true")
        _require(raw.get("resample", 3) == Image.Resampling.BICUBIC, "resample", raw.get("resample"), "3 (bicubic)")
        size, crop = raw.get("size"), raw.get("crop_size")
        shortest_edge = _side(size, "shortest_edge")
        crop_size = _side(crop, "height")
        is_square = not isinstance(crop, dict) or crop.get("width") == crop_size
        _require(
            type(crop_size) is int and crop_size > 0 and is_square,
            "crop_size",
            crop,
            "a number, or equal height and width",
        )
        is_large_enough = type(shortest_edge) is int and LARGEST >= shortest_edge >= crop_size
        _require(is_large_enough, "size", size, f"a shortest edge of at least crop_size ({crop_size})")
        given = {key: raw[key] for key in ("rescale_factor", "image_mean", "image_std") if key in raw}
        for key in ("image_mean", "image_std"):
            if key in given:
                is_three = isinstance(given[key], list | tuple) and len(given[key]) == 3
                _require(is_three, key, given[key], "a list of 3 numbers")
                numbers = {f"{key}[{i}]": value for i, value in enumerate(given[key])}
                require_numbers("CLIP config", numbers, above=0 if key == "image_std" else -1)
                given[key] = tuple(map(float, given[key]))
        if "rescale_factor" in given:
            require_numbers("CLIP config", {"rescale_factor": given["rescale_factor"]})
        return cls(shortest_edge=shortest_edge, crop_size=crop_size, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class CLIPConfig:
    text_config: TextConfig
    vision_config: VisionConfig
    preprocessor: PreprocessorConfig
    projection_dim: int
    logit_scale_init_value: float = math.log(1 / 0.07)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the vision tower's input."""
        return self.vision_config.image_size, self.vision_config.image_size

    def __post_init__(self):
        crop, side = self.preprocessor.crop_size, self.vision_config.image_size
        _require(crop == side, "crop_size", crop, f"the vision tower's image_size, {side}")

    @classmethod
    def from_dict(cls, raw: dict[str, Any], preprocessor: dict[str, Any] | None = None) -> "CLIPConfig":
        """Reads config.json, and preprocessor_config.json where there is one.

        Args:
          preprocessor: the content of preprocessor_config.json; None means the published normalisation at `image_size`.

        Raises:
          UnsupportedConfig: a value is not implemented, or a size is missing; names the key.
        """
        _require(raw.get("model_type", "clip") == "clip", "model_type", raw.get("model_type"), "'clip'")
        text_config = _read_tower(TextConfig, raw, "text_config")
        vision_config = _read_tower(VisionConfig, raw, "vision_config")
        _require("projection_dim" in raw, "projection_dim", None, "an integer of at least 1")
        logit_scale = raw.get("logit_scale_init_value", math.log(1 / 0.07))
        require_integers("CLIP config", {"projection_dim": raw["projection_dim"]})
        require_numbers("CLIP config", {"logit_scale_init_value": logit_scale}, above=-100)
        side = vision_config.image_size
        return cls(
            text_config=text_config,
            vision_config=vision_config,
            preprocessor=PreprocessorConfig.from_dict(preprocessor or {"size": side, "crop_size": side}),
            projection_dim=raw["projection_dim"],
            logit_scale_init_value=logit_scale,
        )


def _read_tower(config_type: type[Tower], raw: dict[str, Any], section: str) -> Tower:
    tower = raw.get(section)
    if not isinstance(tower, dict):
        raise UnsupportedConfig(f"CLIP config: {section} is {tower!r:.100}; it must be an object.")
    place, given = f"CLIP config, {section}", {}
    for field in fields(config_type):
        if field.name not in tower:
            _require(field.default is not MISSING, f"{section}.{field.name}", None, "a size, which must be there")
            continue
        given[field.name] = value = tower[field.name]
        if field.type is int:
            require_integers(place, {field.name: value}, lowest=0 if field.name == "eos_token_id" else 1)
        elif field.type is float:
            require_numbers(place, {field.name: value})
        else:
            _require(value in ACTIVATIONS, field.name, value, f"one of {list(ACTIVATIONS)}")
    return config_type(**given)


def _side(size: Any, key: str) -> Any:
    return size.get(key) if isinstance(size, dict) else size


def _require(condition: bool, key: str, got: Any, allowed: str) -> None:
    if not condition:
        raise UnsupportedConfig(f"CLIP config: {key} is {got!r:.100}; supported: {allowed}.")


def read_config(folder: Path) -> CLIPConfig:
    """Reads a folder's files; raises ModelNotFound or CorruptCheckpoint too, where one is not there or no JSON."""
    name = "preprocessor_config.json"
    raw = read_json(folder, "config.json")
    return CLIPConfig.from_dict(raw, read_json(folder, name) if (folder / name).exists() else None)
