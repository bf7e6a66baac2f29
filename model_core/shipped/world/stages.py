"""The stages of the model's training, each a function of the run's folder: resumable, and done once.

The folder is laid out as `training/run.py` says, with `codes/` besides. Scenes are made while training goes on, so
there is no data set on disk.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from model_core import codecs, families, scorers
from model_core.bundles import FOLDERS, Bundle
from model_core.codecs.vqgan import Params
from model_core.errors import InvalidValue
from model_core.families.dalle_bart.text import open_tokenizer
from model_core.pictures.images import to_pixels, to_uint8
from model_core.scorers.clip import open_text
from model_core.shipped.world.batches import clip_batch, crop_batch, dalle_bart_batch, whole_batch
from model_core.shipped.world.captions import plain_caption
from model_core.shipped.world.card import SAMPLING, about
from model_core.shipped.world.codes import by_size, read_codes, write_codes
from model_core.shipped.world.scenes import World
from model_core.training import clip, dalle_bart, footprint
from model_core.training.clip import CLIPRecipe
from model_core.training.codecs import decoder
from model_core.training.codecs.perceptual import perceptual_of
from model_core.training.codecs.recipes import VQGANRecipe
from model_core.training.codecs.step import initial_state, train_step
from model_core.training.dalle_bart import DalleBartRecipe
from model_core.training.loop import LoopConfig, train
from model_core.training.samples import NUM_SAMPLES, sampler
from model_core.training.sequences import Rows
from model_core.training.start import start_of
from model_core.weights import checkpoint
from model_core.weights.json_files import read_json
from model_core.weights.weight_files import FLAX_WEIGHTS

SAMPLE_EVERY_S = 900.0  # drawing samples costs a CPU half a minute


def train_vqgan(run: Path, world: World, recipe: VQGANRecipe) -> None:
    """Pixels to codes and back, on scenes that never come twice; writes `model/vqgan`."""
    _, config, params = codecs.load(_start(run).codec)
    whole_from = round(recipe.steps * (1 - recipe.whole_fraction))

    def make_batch(rng: np.random.Generator, step: int) -> np.ndarray:
        if step >= whole_from:
            return whole_batch(world, step, max(1, recipe.batch_size // 4))
        return crop_batch(world, step, recipe.batch_size, recipe.crop, rng)

    looks = perceptual_of(recipe, _start(run).scorer)
    step = partial(train_step, config=config, recipe=recipe, perceptual=looks)
    loop = LoopConfig(steps=recipe.steps, seed=recipe.seed)
    state = train(run / "vqgan", loop, initial_state(config, recipe, params), make_batch, step, name="VQGAN")
    if not (run / "vqgan_decoder" / "state.msgpack").exists():  # else the decoder has gone on from here
        _save(run, "codec", state["params"])


def encode(run: Path, world: World, num_shards: int) -> None:
    """Scenes to codes; writes `codes/`."""
    _, config, params = codecs.load(_part(run, "codec"))
    write_codes(run / "codes", world, config, params, num_shards)


def train_decoder(run: Path, world: World, num_shards: int, recipe: VQGANRecipe) -> None:
    """Codes to pixels, better, with the codes fixed; rewrites `model/vqgan`."""
    _, config, params = codecs.load(_part(run, "codec"))
    codes = read_codes(run / "codes", num_shards)
    start, fixed = decoder.split(config, params)

    def make_batch(rng: np.random.Generator, _step: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.integers(len(codes), size=recipe.decoder_batch_size)
        which = (rng.random(len(chosen)) >= decoder.ENCODED_SHARE).astype(int)
        grids = codes[chosen, which].astype(np.int32).reshape(-1, config.grid.rows, config.grid.columns)
        return grids, to_pixels(np.stack([world.scene(int(index)).pixels for index in chosen]))

    looks = perceptual_of(recipe, _start(run).scorer)
    step = partial(decoder.decoder_step, fixed=fixed, config=config, recipe=recipe, perceptual=looks)
    loop = LoopConfig(steps=recipe.decoder_steps, seed=recipe.seed)
    state = decoder.decoder_state(start, config, recipe)
    trained = train(run / "vqgan_decoder", loop, state, make_batch, step, name="VQGAN decoder")
    _save(run, "codec", fixed | trained["params"])


def train_dalle_bart(run: Path, world: World, num_shards: int, recipe: DalleBartRecipe, unseen: World) -> None:
    """Captions to codes; writes `model/dalle_bart`, and pictures of held-out captions on the way."""
    _, config, params = families.load(_start(run).sampler)
    words = open_tokenizer(_part(run, "sampler"))
    codes = read_codes(run / "codes", num_shards)
    among = by_size(codes)
    codec, codec_config, spelling = codecs.load(_part(run, "codec"))

    def draw(some: Int[np.ndarray, "M N"]) -> UInt8[np.ndarray, "M h w 3"]:
        return to_uint8(np.asarray(codec.decode(codec_config, spelling, some)))

    def make_batch(rng: np.random.Generator, _step: int) -> Rows:
        return dalle_bart_batch(world, codes, among, words, recipe, config.max_text_length, rng)

    prompts = [plain_caption(unseen.describe(index)) for index in range(NUM_SAMPLES)]
    folder = run / "dalle_bart"
    state = train(
        folder,
        LoopConfig(steps=recipe.steps, seed=recipe.seed, save_every_s=SAMPLE_EVERY_S),
        dalle_bart.initial_state(config, recipe, params),
        make_batch,
        partial(dalle_bart.train_step, config=config, recipe=recipe),
        name="DalleBart",
        on_save=sampler(config, words, draw, prompts, codec_config.n_embed, SAMPLING, folder / "samples"),
    )
    _save(run, "sampler", state["ema"])


def train_clip(run: Path, world: World, recipe: CLIPRecipe) -> None:
    """Captions and pictures to scores, among near misses; writes `model/clip`."""
    folder = _start(run).scorer
    if folder is None:
        raise InvalidValue(f"the model that {run} started from has no CLIP.")
    _, config, params = scorers.load(folder)
    words = open_text(_part(run, "scorer"))
    codec, codec_config, spelling = codecs.load(_part(run, "codec"))

    def reconstruct(pixels: UInt8[np.ndarray, "B h w 3"]) -> UInt8[np.ndarray, "B h w 3"]:
        codes = codec.encode(codec_config, spelling, to_pixels(pixels))
        return to_uint8(np.asarray(codec.decode(codec_config, spelling, codes)))

    def make_batch(rng: np.random.Generator, step: int) -> dict[str, np.ndarray]:
        return clip_batch(world, step, reconstruct, words, config, recipe, rng)

    state = train(
        run / "clip",
        LoopConfig(steps=recipe.steps, seed=recipe.seed),
        clip.initial_state(config, recipe, params),
        make_batch,
        partial(clip.train_step, config=config, recipe=recipe),
        name="CLIP",
    )
    _save(run, "scorer", state["params"])


def export(run: Path, unseen: World) -> Path:
    """Writes `model/model.json`; gives the model's folder."""
    examples = [plain_caption(unseen.describe(index)) for index in range(24)]
    card = read_json(run / "start", "model.json") | about(examples)
    if (took := footprint.of_run(run)).seconds:
        card["training"] = took.told()
    text = json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (run / "model" / "model.json").write_text(text, encoding="utf-8")
    return run / "model"


def _start(run: Path) -> Bundle:
    start = start_of(run)
    if start is None:
        raise InvalidValue(f"{run} did not start from a model: `dalle-serve train start emoji --run {run}` does that.")
    return start


def _part(run: Path, role: str) -> Path:
    return run / "model" / FOLDERS[role]


def _save(run: Path, role: str, params: Params) -> None:
    checkpoint.save_params(_part(run, role) / FLAX_WEIGHTS, params, "float16")
