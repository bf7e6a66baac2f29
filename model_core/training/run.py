"""One training run as a folder, from a data set to a model that can be served.

`vqgan/` and `vqgan_decoder/` (the codec's, whatever its kind), `dalle_bart/` (what draws) and `clip/` each hold a
training state and its metrics; `model/` what `export` makes of it: the files that a model's folder holds. Each part
needs the one before. `start/`, where there is one, holds the model that all parts start from.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from model_core import families
from model_core.bundles import FOLDERS, ROLES
from model_core.errors import InvalidValue
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart.family import DalleBartConfig, Params
from model_core.families.dalle_bart.normalize import normalize
from model_core.families.dalle_bart.text import open_tokenizer
from model_core.files import write_atomically
from model_core.scorers import clip as clip_scorer
from model_core.stages import ImageDecoder
from model_core.training import clip, devices, footprint, sequences, tokenizer
from model_core.training.canonical_codes import canonical_codes
from model_core.training.codecs.decoder import train_decoder
from model_core.training.codecs.perceptual import Perceptual, perceptual_of
from model_core.training.codecs.train import train_codec
from model_core.training.data import SPLITS, Dataset, Item, example_prompts
from model_core.training.encoded import EncodedDataset, fingerprint
from model_core.training.loop import load_state, step_of
from model_core.training.presets import Preset
from model_core.training.recipe import SequenceRecipe
from model_core.training.sampler import Captioned, Task, dalle_bart_task, decoder_task, train_sampler
from model_core.training.samples import NUM_SAMPLES, sampler
from model_core.training.start import FRESH, parts_of, start_of, with_sizes_of
from model_core.weights import checkpoint
from model_core.weights.json_files import read_json
from model_core.weights.safetensors_writer import save_arrays
from model_core.weights.weight_files import FLAX_WEIGHTS, SAFETENSORS_INDEX, SAFETENSORS_WEIGHTS

NUM_EXAMPLES = 24  # of the prompts that a model is published with
BATCH = 16  # pictures at a time, when nothing is learned
ALL_WEIGHTS = (FLAX_WEIGHTS, SAFETENSORS_WEIGHTS, SAFETENSORS_INDEX)
BART_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


class TrainingRun:
    """Trains the three models of `preset` on `dataset`, in `folder`; every step resumes where it was stopped."""

    def __init__(self, folder: Path, dataset: Dataset | EncodedDataset, preset: Preset):
        self.folder = folder
        self.dataset = dataset
        self.start = start_of(folder)
        self.preset = with_sizes_of(self.start, preset) if self.start else preset
        self.model = folder / "model"
        self.items = dataset.split("train")

    def train_codec(self) -> None:
        """Pixels to codes and back; writes `model/vqgan`, which is the codec, whatever its kind.

        Raises:
          UnsupportedConfig: codecs of its kind are not trained here.
        """
        config, recipe = self.preset.vqgan, self.preset.codec_recipe
        params, folder = self._start_params("codec"), self.folder / "vqgan"
        looks = self._perceptual()
        params = train_codec(self._load_pixels(), folder, config, recipe, params=params, perceptual=looks)
        self._write_config("codec", {**dataclasses.asdict(config), "model_type": "vqgan"})
        self._save("codec", params)

    def train_decoder(self) -> None:
        """Codes to pixels, better, with the codes fixed; rewrites `model/vqgan`. Raises as `train_codec`."""
        recipe, looks = self.preset.codec_recipe, self._perceptual()
        codec, pixels = self._codec(), self._load_pixels()
        codes, canonical = codec.encode(pixels), canonical_codes(self.items, pixels, codec.encode)
        folder = self.folder / "vqgan_decoder"
        params = train_decoder(codec.params, codes, canonical, pixels, folder, codec.config, recipe, looks)
        self._save("codec", params)

    def train_sampler(self, validation: Sequence[Dataset | EncodedDataset] = ()) -> None:
        """Prompts to codes; writes `model/dalle_bart`, which is what draws, whatever its family.

        Args:
          validation: sets to measure on besides those that the data set keeps back, called by their folders.

        Raises:
          InvalidValue: there are sets to measure on, and the recipe never does.
        """
        with devices.on_host():
            task = self._task()
        if validation and not task.recipe.validate_every:
            raise InvalidValue("--validate needs the steps between measurements: --set validate_every=500.")
        self._note_recipe(task.recipe)
        sets: dict[str, Captioned] = {}
        if task.recipe.validate_every:
            sets |= {name: self._captioned(self.dataset, name) for name in SPLITS[1:] if self.dataset.split(name)}
            sets |= {kept.folder.resolve().name: self._captioned(kept) for kept in validation}
        hooks = {"on_save": self._samples()} if isinstance(task.config, DalleBartConfig) else {}
        params = train_sampler(task, self._captioned(self.dataset), self.folder / "dalle_bart", sets, **hooks)
        self._save("sampler", params)

    def _task(self) -> Task:
        config, params = self.preset.dalle_bart, self._start_params("sampler")
        folder = self.model / FOLDERS["sampler"]
        if isinstance(config, DalleBartConfig):
            self._prepare_dalle_bart(folder)
            return dalle_bart_task(config, self.preset.dalle_bart_recipe, open_tokenizer(folder), params)
        assert self.start is not None  # else the preset's own sizes count, which are a DalleBart's
        family, reader = families.of_folder(folder), self.start.parts.get("text", folder)
        text = families.of_folder(reader).open_text(reader)
        return decoder_task(family, config, self.preset.decoder_recipe, text, params)

    def _state_shapes(self) -> Any:
        """What a state of the sampler holds, without its numbers."""
        config = self.preset.dalle_bart
        is_bart = isinstance(config, DalleBartConfig)
        family = dalle_bart if is_bart else families.of_folder(self.model / FOLDERS["sampler"])
        recipe = self.preset.dalle_bart_recipe if is_bart else self.preset.decoder_recipe
        return jax.eval_shape(partial(sequences.initial_state, recipe), family.param_shapes(config))

    def _prepare_dalle_bart(self, folder: Path) -> None:
        """Writes its configuration, and trains its tokenizer where there is none."""
        config = self.preset.dalle_bart
        raw = dataclasses.asdict(config) | {
            "model_type": "dallebart",
            "normalize_text": True,
            **dict.fromkeys(BART_SPECIAL_IDS, config.eos_token_id),
        }
        self._write_config("sampler", raw)
        if devices.is_first() and not (folder / "tokenizer.json").exists():  # a resumed run keeps its words
            corpus = (normalize(prompt) for prompt in tokenizer.read_corpus(self.dataset))
            tokenizer.train_tokenizer(corpus, folder, config.encoder_vocab_size, config.max_text_length)
        devices.wait_for_all()

    def _samples(self) -> Callable[[Any], None]:
        return sampler(
            self.preset.dalle_bart,
            open_tokenizer(self.model / FOLDERS["sampler"]),
            self._codec().decode,
            example_prompts(self.items, NUM_SAMPLES),
            self.preset.vqgan.grid.codebook,
            self.preset.sampling,
            self.folder / "dalle_bart" / "samples",
        )

    def _captioned(self, dataset: Dataset | EncodedDataset, split: str = "train") -> Captioned:
        """A split of a data set as codes of this run's codec."""
        codec = self._codec()
        if isinstance(dataset, EncodedDataset):
            if dataset.about["codec"] != fingerprint(codec.params):
                raise InvalidValue(
                    f"{dataset.folder} was encoded by another codec than that of {self.folder}: encode it again with "
                    f"`--model {self.model}`."
                )
            return Captioned(dataset.items, dataset.codes)
        items = dataset.split(split)
        return Captioned(items, canonical_codes(items, self._load_pixels(dataset, items), codec.encode))

    def _note_recipe(self, recipe: SequenceRecipe) -> None:
        """Adds a line to `recipe.jsonl` where a run begins or goes on with other values: the step, what changed."""
        path, state = self.folder / "dalle_bart" / "recipe.jsonl", self.folder / "dalle_bart" / "state.msgpack"
        if not devices.is_first():
            return
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        before: dict[str, Any] = {name: value for line in lines for name, value in line["set"].items()}
        changed = {name: value for name, value in dataclasses.asdict(recipe).items() if before.get(name) != value}
        if changed:
            lines.append({"step": step_of(state) if state.exists() else 0, "set": changed})
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def train_clip(self) -> None:
        """Prompts and pictures to scores; writes `model/clip`."""
        config = self.preset.clip
        folder = self.model / FOLDERS["scorer"]
        raw: dict[str, Any] = dataclasses.asdict(config) | {"model_type": "clip"}
        preprocessor = raw.pop("preprocessor")
        self._write_config("scorer", raw)
        self._write_config("scorer", _published_preprocessor(preprocessor), "preprocessor_config.json")
        length = config.text_config.max_position_embeddings
        if devices.is_first() and not (folder / "tokenizer.json").exists():
            corpus = tokenizer.read_corpus(self.dataset)
            tokenizer.train_clip_tokenizer(corpus, folder, config.text_config.vocab_size, length)
        devices.wait_for_all()
        params = clip.train_clip(
            list(self.items),
            self._load_pixels(),
            self._codec().decode(self._captioned(self.dataset).codes),
            clip_scorer.open_text(folder),
            self.folder / "clip",
            config,
            self.preset.clip_recipe,
            params=self._start_params("scorer"),
        )
        self._save("scorer", params)

    def export(
        self, card: Mapping[str, str] | None = None, *, watts: float | None = None, grams_per_kwh: float | None = None
    ) -> Path:
        """Writes the DalleBart as it is now, finished or not, and `model.json`; gives the model's folder.

        Args:
          card: values of `id`, `licence` and `description`; those that are missing stay what an earlier export wrote,
            as do the two others.
          watts, grams_per_kwh: of the electricity that training took, as `Footprint.told` has them.

        Raises:
          InvalidValue: the DalleBart has not been trained yet.
        """
        path = self.folder / "dalle_bart" / "state.msgpack"
        if not path.exists():
            raise InvalidValue(f"{self.folder} holds no trained DalleBart yet: run `dalle-serve train sampler` first.")
        self._save("sampler", load_state(path, self._state_shapes())["ema"])
        side = self.preset.vqgan.size[0]
        told = {
            "id": self.folder.resolve().name,
            "licence": "unknown",
            "description": f"Learned from {len(self.items)} captioned pictures of {side} × {side} pixels.",
        }
        before = read_json(self.model, "model.json") if (self.model / "model.json").exists() else {}
        told |= {key: before[key] for key in (*told, "window", "plain_ground") if key in before}
        measured = {
            "size": side,
            "sampling": self.preset.sampling,
            "example_prompts": example_prompts(self.items, NUM_EXAMPLES),
        }
        if self.start:
            measured["parts"] = parts_of(self.start)
        if (took := footprint.of_run(self.folder)).seconds:
            stated = before.get("training", {})
            watts = stated.get("watts") if watts is None else watts
            grams_per_kwh = stated.get("grams_co2_per_kwh") if grams_per_kwh is None else grams_per_kwh
            measured["training"] = took.told(watts, grams_per_kwh)
        _write_json(self.model / "model.json", told | dict(card or {}) | measured)
        return self.model

    def _load_pixels(
        self, dataset: Dataset | EncodedDataset | None = None, items: Sequence[Item] | None = None
    ) -> UInt8[np.ndarray, "M height width 3"]:
        """Pictures of the size that the codec takes; of the training, unless another set is named."""
        pixels = (dataset or self.dataset).load_pixels(self.items if items is None else items)
        side = self.preset.vqgan.size[0]
        if pixels.shape[1] != side:
            raise InvalidValue(f"the data set's pictures are {pixels.shape[1]} pixels wide; this model needs {side}.")
        return pixels

    def _perceptual(self) -> Perceptual | None:
        """What the codec's recipe looks with, if anything; the scorer as it is now, where no other is named."""
        own = self.model / FOLDERS["scorer"]
        has_own = any((own / name).exists() for name in ALL_WEIGHTS)
        return perceptual_of(self.preset.codec_recipe, own if has_own else None)

    def _codec(self) -> ImageDecoder:
        """As it is now."""
        folder = self.model / FOLDERS["codec"]
        if not folder.is_dir():
            raise InvalidValue(f"{self.folder} holds no trained codec yet: run `dalle-serve train codec` first.")
        return ImageDecoder(folder, batch_size=BATCH)

    def _start_params(self, role: str) -> Params | None:
        """The parameters of a part that the starting model has; None where they are drawn at random."""
        if role in FRESH and (self.folder / "start" / FRESH[role]).exists():
            return None
        folder = self.start.parts.get(role) if self.start else None
        return folder and ROLES[role].load(folder)[2]

    def _write_config(self, role: str, content: dict[str, Any], name: str = "config.json") -> None:
        """Writes a part's configuration; one that came with the starting model says more, and stays."""
        if not self.start or role not in self.start.parts:
            _write_json(self.model / FOLDERS[role] / name, content)

    def _save(self, role: str, params: Params) -> None:
        if devices.is_first():
            folder, written = self.model / FOLDERS[role], FLAX_WEIGHTS
            if role == "sampler" and not isinstance(self.preset.dalle_bart, DalleBartConfig):
                written = SAFETENSORS_WEIGHTS
                save_arrays(folder / written, families.of_folder(folder).published(params))
            else:
                checkpoint.save_params(folder / written, params, "float16")
            for other in (*map(folder.joinpath, ALL_WEIGHTS), *folder.glob("model-*-of-*.safetensors")):
                if other.name != written:
                    other.unlink(missing_ok=True)  # of the starting model
        devices.wait_for_all()


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
