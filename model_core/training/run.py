"""One training run as a folder, from a data set to a model that can be served.

`vqgan/`, `vqgan_decoder/`, `dalle_bart/` and `clip/` each hold a training state and its metrics; `model/` what `export`
makes of it: the files that a model's folder holds. Each part needs the one before. `start/`, where there is one, holds
the model that all parts start from.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from model_core.codecs import vqgan
from model_core.errors import InvalidValue
from model_core.families.dalle_bart.dalle_bart import Params
from model_core.families.dalle_bart.normalize import normalize
from model_core.families.dalle_bart.text import open_tokenizer
from model_core.pictures.images import to_uint8
from model_core.scorers import clip as clip_scorer
from model_core.training import clip, dalle_bart, devices, tokenizer
from model_core.training import vqgan as vqgan_training
from model_core.training.canonical_codes import canonical_codes
from model_core.training.data import Dataset, example_prompts
from model_core.training.loop import load_state
from model_core.training.presets import Preset
from model_core.training.samples import NUM_SAMPLES, sampler
from model_core.training.start import start_of, with_sizes_of
from model_core.weights import checkpoint
from model_core.weights.json_files import read_json

NUM_EXAMPLES = 24  # of the prompts that a model is published with
BATCH = 16  # pictures at a time, when nothing is learned
BART_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


class TrainingRun:
    """Trains the three models of `preset` on `dataset`, in `folder`; every step resumes where it was stopped."""

    def __init__(self, folder: Path, dataset: Dataset, preset: Preset):
        self.folder = folder
        self.dataset = dataset
        self.start = start_of(folder)
        self.preset = with_sizes_of(self.start, preset) if self.start else preset
        self.model = folder / "model"
        self.items = list(dataset.split("train"))

    def train_vqgan(self) -> None:
        """Pixels to codes and back; writes `model/vqgan`."""
        config, recipe = self.preset.vqgan, self.preset.vqgan_recipe
        params = checkpoint.load_vqgan(self.start.vqgan)[1] if self.start else None
        params = vqgan_training.train_vqgan(self._load_pixels(), self.folder / "vqgan", config, recipe, params=params)
        self._write_config("vqgan", {**dataclasses.asdict(config), "model_type": "vqgan"})
        self._save("vqgan", params)

    def encode(self) -> Int[np.ndarray, "M N"]:
        """The training pictures as canonical codes."""
        return canonical_codes(self.items, self._load_pixels(), self._encode)

    def train_decoder(self) -> None:
        """Codes to pixels, better, with the codes fixed; rewrites `model/vqgan`."""
        config, params = self._load_vqgan()
        canonical = self.encode()
        pixels = self._load_pixels()
        folder = self.folder / "vqgan_decoder"
        recipe = self.preset.vqgan_recipe
        params = vqgan_training.train_decoder(params, self._encode(pixels), canonical, pixels, folder, config, recipe)
        self._save("vqgan", params)

    def train_dalle_bart(self) -> None:
        """Prompts to codes; writes `model/dalle_bart`."""
        codes = self.encode()
        config = self.preset.dalle_bart
        folder = self.model / "dalle_bart"
        raw = dataclasses.asdict(config) | {
            "model_type": "dallebart",
            "normalize_text": True,
            **dict.fromkeys(BART_SPECIAL_IDS, config.eos_token_id),
        }
        self._write_config("dalle_bart", raw)
        if devices.is_first() and not (folder / "tokenizer.json").exists():  # a resumed run keeps its words
            corpus = (normalize(prompt) for prompt in tokenizer.read_corpus(self.dataset))
            tokenizer.train_tokenizer(corpus, folder, config.encoder_vocab_size, config.max_text_length)
        devices.wait_for_all()
        words = open_tokenizer(folder)
        params = dalle_bart.train_dalle_bart(
            self.items,
            codes,
            words,
            self.folder / "dalle_bart",
            config,
            self.preset.dalle_bart_recipe,
            params=checkpoint.load_dalle_bart(self.start.dalle_bart)[1] if self.start else None,
            on_save=sampler(
                config,
                words,
                self._reconstruct,
                example_prompts(self.items, NUM_SAMPLES),
                self.preset.vqgan.n_embed,
                self.preset.sampling,
                self.folder / "dalle_bart" / "samples",
            ),
        )
        self._save("dalle_bart", params)

    def train_clip(self) -> None:
        """Prompts and pictures to scores; writes `model/clip`."""
        config = self.preset.clip
        folder = self.model / "clip"
        raw: dict[str, Any] = dataclasses.asdict(config) | {"model_type": "clip"}
        preprocessor = raw.pop("preprocessor")
        self._write_config("clip", raw)
        self._write_config("clip", _published_preprocessor(preprocessor), "preprocessor_config.json")
        length = config.text_config.max_position_embeddings
        if devices.is_first() and not (folder / "tokenizer.json").exists():
            corpus = tokenizer.read_corpus(self.dataset)
            tokenizer.train_clip_tokenizer(corpus, folder, config.text_config.vocab_size, length)
        devices.wait_for_all()
        params = clip.train_clip(
            self.items,
            self._load_pixels(),
            self._reconstruct(self.encode()),
            clip_scorer.open_tokenizer(folder),
            self.folder / "clip",
            config,
            self.preset.clip_recipe,
            params=checkpoint.load_clip(self.start.clip)[1] if self.start and self.start.clip else None,
        )
        self._save("clip", params)

    def export(self, card: Mapping[str, str] | None = None) -> Path:
        """Writes the DalleBart as it is now, finished or not, and `model.json`; gives the model's folder.

        Args:
          card: values of `id`, `licence` and `description`; those that are missing stay what an earlier export wrote.

        Raises:
          InvalidValue: the DalleBart has not been trained yet.
        """
        path = self.folder / "dalle_bart" / "state.msgpack"
        if not path.exists():
            raise InvalidValue(
                f"{self.folder} holds no trained DalleBart yet: run `dalle-serve train dalle-bart` first."
            )
        state = load_state(path, dalle_bart.initial_state(self.preset.dalle_bart, self.preset.dalle_bart_recipe))
        self._save("dalle_bart", state["ema"])
        side = self.preset.vqgan.resolution
        told = {
            "id": self.folder.resolve().name,
            "licence": "unknown",
            "description": f"Learned from {len(self.items)} captioned pictures of {side} × {side} pixels.",
        }
        if (self.model / "model.json").exists():
            before = read_json(self.model, "model.json")
            told |= {key: before[key] for key in told if key in before}
        measured = {
            "size": side,
            "sampling": self.preset.sampling,
            "example_prompts": example_prompts(self.items, NUM_EXAMPLES),
        }
        _write_json(self.model / "model.json", told | dict(card or {}) | measured)
        return self.model

    def _load_pixels(self) -> UInt8[np.ndarray, "M height width 3"]:
        pixels = self.dataset.load_pixels(self.items)
        side = self.preset.vqgan.resolution
        if pixels.shape[1] != side:
            raise InvalidValue(f"the data set's pictures are {pixels.shape[1]} pixels wide; this model needs {side}.")
        return pixels

    def _encode(self, pixels: UInt8[np.ndarray, "M height width 3"]) -> Int[np.ndarray, "M N"]:
        config, params = self._load_vqgan()
        parts = [
            np.asarray(vqgan.encode_pixels(config, params, pixels[rows].astype(np.float32) / 255))
            for rows in _batches(len(pixels))
        ]
        return np.concatenate(parts)[: len(pixels)]

    def _reconstruct(self, codes: Int[np.ndarray, "M N"]) -> UInt8[np.ndarray, "M height width 3"]:
        config, params = self._load_vqgan()
        parts = [to_uint8(np.asarray(vqgan.decode_codes(config, params, codes[rows]))) for rows in _batches(len(codes))]
        return np.concatenate(parts)[: len(codes)]

    def _load_vqgan(self) -> tuple[vqgan.VQGANConfig, Params]:
        if not (self.model / "vqgan").is_dir():
            raise InvalidValue(f"{self.folder} holds no trained VQGAN yet: run `dalle-serve train vqgan` first.")
        return checkpoint.load_vqgan(self.model / "vqgan")

    def _write_config(self, part: str, content: dict[str, Any], name: str = "config.json") -> None:
        """Writes a part's configuration; one that came with the starting model says more, and stays."""
        if not self.start or getattr(self.start, part) is None:
            _write_json(self.model / part / name, content)

    def _save(self, part: str, params: Params) -> None:
        if devices.is_first():
            checkpoint.save_params(self.model / part / "flax_model.msgpack", params, "float16")
        devices.wait_for_all()


def _batches(total: int) -> list[Int[np.ndarray, " rows"]]:
    """Rows of batches of one size, for one compiled program; the last row is repeated to fill the last one."""
    return [np.arange(first, first + BATCH).clip(max=total - 1) for first in range(0, total, BATCH)]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    if not devices.is_first():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _published_preprocessor(settings: dict[str, Any]) -> dict[str, Any]:
    """preprocessor_config.json as the public repositories hold it."""
    side = {"height": settings["crop_size"], "width": settings["crop_size"]}
    steps = dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"), True)
    sizes = {"size": {"shortest_edge": settings["shortest_edge"]}, "crop_size": side, "resample": 3}
    kept = {key: settings[key] for key in ("rescale_factor", "image_mean", "image_std")}
    return {"image_processor_type": "CLIPImageProcessor", **steps, **sizes, **kept}
