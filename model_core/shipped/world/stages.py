"""The stages of the model's training, each a function of the run's folder: resumable, and done once.

The folder is laid out as `training/run.py` says, with `codes/` besides. Scenes are made while training goes on, so
there is no data set on disk.
"""

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Int, UInt8

from model_core.codecs.vqgan import VQGANConfig, decode_codes, encode_pixels
from model_core.errors import InvalidValue
from model_core.families.dalle_bart.dalle_bart import Params
from model_core.families.dalle_bart.text import Tokenizer
from model_core.pictures.images import to_uint8
from model_core.shipped.world.batches import clip_batch, dalle_bart_batch
from model_core.shipped.world.captions import plain_caption
from model_core.shipped.world.codes import read_codes, write_codes
from model_core.shipped.world.crops import crop_batch, whole_batch
from model_core.shipped.world.scenes import World
from model_core.training import clip, dalle_bart, vqgan
from model_core.training.clip import CLIPRecipe
from model_core.training.dalle_bart import DalleBartRecipe
from model_core.training.loop import LoopConfig, Metrics, State, train
from model_core.training.samples import NUM_SAMPLES, sampler
from model_core.training.start import start_of
from model_core.training.vqgan import DECODER_PARTS, ENCODED_SHARE, VQGANRecipe
from model_core.weights import checkpoint
from model_core.weights.bundles import Bundle
from model_core.weights.json_files import read_json

SAMPLING = {"guidance_scale": 2.5, "temperature": 0.7, "top_k": 50, "top_p": 1.0}
SAMPLE_EVERY_S = 900.0  # drawing samples costs a CPU half a minute


def train_vqgan(run: Path, world: World, recipe: VQGANRecipe) -> None:
    """Pixels to codes and back, on scenes that never come twice; writes `model/vqgan`."""
    config, params = checkpoint.load_vqgan(_start(run).vqgan)
    whole_from = round(recipe.steps * (1 - recipe.whole_fraction))

    def make_batch(rng: np.random.Generator, step: int) -> np.ndarray:
        if step >= whole_from:
            return whole_batch(world, step, max(1, recipe.batch_size // 4))
        return crop_batch(world, step, recipe.batch_size, recipe.crop, rng)

    step = partial(_vqgan_step, config=config, recipe=recipe)
    loop = LoopConfig(steps=recipe.steps, seed=recipe.seed)
    state = train(run / "vqgan", loop, vqgan.initial_state(config, recipe, params), make_batch, step, name="VQGAN")
    if not (run / "vqgan_decoder" / "state.msgpack").exists():  # else the decoder has gone on from here
        _save(run, "vqgan", state["params"])


def _vqgan_step(
    state: State, batch: np.ndarray, key: jax.Array, *, config: VQGANConfig, recipe: VQGANRecipe
) -> tuple[State, Metrics]:
    return vqgan.train_step(state, batch, key, config=config, recipe=recipe, quantise=True)


def encode(run: Path, world: World, num_shards: int) -> None:
    """Scenes to codes; writes `codes/`."""
    config, params = checkpoint.load_vqgan(run / "model" / "vqgan")
    write_codes(run / "codes", world, config, params, num_shards)


def train_decoder(run: Path, world: World, num_shards: int, recipe: VQGANRecipe) -> None:
    """Codes to pixels, better, with the codes fixed; rewrites `model/vqgan`."""
    config, params = checkpoint.load_vqgan(run / "model" / "vqgan")
    codes = read_codes(run / "codes", num_shards)
    fixed = {name: params[name] for name in params if name not in DECODER_PARTS}

    def make_batch(rng: np.random.Generator, _step: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.integers(len(codes), size=recipe.decoder_batch_size)
        which = (rng.random(len(chosen)) >= ENCODED_SHARE).astype(int)
        grids = codes[chosen, which].astype(np.int32).reshape(-1, config.grid, config.grid)
        pixels = np.stack([world.scene(int(index)).pixels for index in chosen])
        return grids, pixels.astype(np.float32) / 255

    step = partial(vqgan.decoder_step, fixed=fixed, config=config, recipe=recipe)
    loop = LoopConfig(steps=recipe.decoder_steps, seed=recipe.seed)
    state = vqgan.decoder_state(params, recipe)
    trained = train(run / "vqgan_decoder", loop, state, make_batch, step, name="VQGAN decoder")
    _save(run, "vqgan", fixed | trained["params"])


def train_dalle_bart(run: Path, world: World, num_shards: int, recipe: DalleBartRecipe, unseen: World) -> None:
    """Captions to codes; writes `model/dalle_bart`, and pictures of held-out captions on the way."""
    config, params = checkpoint.load_dalle_bart(_start(run).dalle_bart)
    words = Tokenizer.from_folder(run / "model" / "dalle_bart")
    codes = read_codes(run / "codes", num_shards)
    vqgan_config, decoder = checkpoint.load_vqgan(run / "model" / "vqgan")

    def draw(some: Int[np.ndarray, "M N"]) -> UInt8[np.ndarray, "M h w 3"]:
        return to_uint8(np.asarray(decode_codes(vqgan_config, decoder, some)))

    def make_batch(rng: np.random.Generator, _step: int) -> dict[str, np.ndarray]:
        return dalle_bart_batch(world, codes, words, recipe, config.max_text_length, rng)

    prompts = [plain_caption(unseen.describe(index)) for index in range(NUM_SAMPLES)]
    folder = run / "dalle_bart"
    state = train(
        folder,
        LoopConfig(steps=recipe.steps, seed=recipe.seed, save_every_s=SAMPLE_EVERY_S),
        dalle_bart.initial_state(config, recipe, params),
        make_batch,
        partial(dalle_bart.train_step, config=config, recipe=recipe),
        name="DalleBart",
        on_save=sampler(config, words, draw, prompts, vqgan_config.n_embed, SAMPLING, folder / "samples"),
    )
    _save(run, "dalle_bart", state["ema"])


def train_clip(run: Path, world: World, recipe: CLIPRecipe) -> None:
    """Captions and pictures to scores, among near misses; writes `model/clip`."""
    folder = _start(run).clip
    if folder is None:
        raise InvalidValue(f"the model that {run} started from has no CLIP.")
    config, params = checkpoint.load_clip(folder)
    words = Tokenizer.from_folder(run / "model" / "clip")
    vqgan_config, spelling = checkpoint.load_vqgan(run / "model" / "vqgan")

    def reconstruct(pixels: UInt8[np.ndarray, "B h w 3"]) -> UInt8[np.ndarray, "B h w 3"]:
        codes = encode_pixels(vqgan_config, spelling, pixels.astype(np.float32) / 255)
        return to_uint8(np.asarray(decode_codes(vqgan_config, spelling, codes)))

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
    _save(run, "clip", state["params"])


def export(run: Path, unseen: World) -> Path:
    """Writes `model/model.json`; gives the model's folder."""
    card = read_json(run / "start", "model.json") | {
        "id": "world",
        "description": "Draws things in colours, numbers, places and relations that it was never shown together.",
        "sampling": SAMPLING,
        "example_prompts": [plain_caption(unseen.describe(index)) for index in range(24)],
    }
    text = json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (run / "model" / "model.json").write_text(text, encoding="utf-8")
    return run / "model"


def _start(run: Path) -> Bundle:
    start = start_of(run)
    if start is None:
        raise InvalidValue(f"{run} did not start from a model: `dalle-serve train start emoji --run {run}` does that.")
    return start


def _save(run: Path, part: str, params: Params) -> None:
    checkpoint.save_params(run / "model" / part / "flax_model.msgpack", params, "float16")
