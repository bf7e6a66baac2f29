"""Trains a codec on pictures: in most steps on crops, for networks are convolutional, in the last ones on whole."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from model_core.codecs import CodecConfig
from model_core.codecs.vqgan import encoder_pixels
from model_core.codecs.vqgan_network import VQGAN
from model_core.pictures.images import to_pixels
from model_core.training.codecs import codebook
from model_core.training.codecs.perceptual import Perceptual
from model_core.training.codecs.recipes import CodecRecipe, VQGANRecipe, check
from model_core.training.codecs.step import Params, initial_state, train_step
from model_core.training.loop import LoopConfig, Metrics, State, batch_rng, train

Pictures = UInt8[np.ndarray, "M height width 3"]


def train_codec(
    pixels: Pictures,
    folder: Path,
    config: CodecConfig,
    recipe: CodecRecipe,
    loop: LoopConfig | None = None,
    params: Params | None = None,
    perceptual: Perceptual | None = None,
) -> Params:
    """Trains on `pixels` until `recipe.steps`; returns the parameters.

    `params` are trained further, a VQGAN's with the codebook that they have; without them it starts with random ones.

    Raises:
      InvalidValue: a value of the recipe makes no sense for these pictures.
    """
    check(recipe, config.size[0], config.size[0] // config.grid.rows)
    loop = loop or LoopConfig(steps=recipe.steps, seed=recipe.seed)
    whole_from = round(recipe.steps * (1 - recipe.whole_fraction))
    is_to_start, quantise_from = False, 0
    if isinstance(recipe, VQGANRecipe) and params is None:
        is_to_start, quantise_from = True, round(recipe.steps * recipe.continuous_fraction)

    def make_batch(rng: np.random.Generator, step: int) -> np.ndarray:
        if step >= whole_from:
            return to_pixels(pixels[rng.integers(len(pixels), size=max(recipe.batch_size // 4, 1))])
        return to_pixels(_crops(pixels, recipe, rng))

    def step(state: State, batch: Any, key: jax.Array) -> tuple[State, Metrics]:
        number = int(state["step"])
        if is_to_start and number == quantise_from:
            state = codebook.started(state, _some_features(state["params"], pixels, config, recipe), recipe.seed)
        options = {"config": config, "recipe": recipe, "perceptual": perceptual}
        return train_step(state, batch, key, quantise=number >= quantise_from, **options)

    return train(folder, loop, initial_state(config, recipe, params), make_batch, step, name="codec")["params"]


def _crops(pixels: Pictures, recipe: CodecRecipe, rng: np.random.Generator) -> np.ndarray:
    """Random squares of random pictures."""
    count, height, width, _ = pixels.shape
    rows = rng.integers(height - recipe.crop + 1, size=recipe.batch_size)
    columns = rng.integers(width - recipe.crop + 1, size=recipe.batch_size)
    places = zip(rng.integers(count, size=recipe.batch_size), rows, columns, strict=True)
    return np.stack([pixels[i, row : row + recipe.crop, column : column + recipe.crop] for i, row, column in places])


def _some_features(
    params: Params, pixels: Pictures, config: Any, recipe: CodecRecipe, batches: int = 20
) -> Float[np.ndarray, "N E"]:
    """A VQGAN's features of a few thousand places, for starting its codebook."""

    @jax.jit
    def encode(crops: jax.Array) -> Any:
        return VQGAN(config).apply({"params": params}, encoder_pixels(config, crops), method=VQGAN.features)

    rngs = (batch_rng(recipe.seed, recipe.steps + i) for i in range(batches))
    features = [np.asarray(encode(to_pixels(_crops(pixels, recipe, rng)))) for rng in rngs]
    return np.concatenate(features).reshape(-1, config.embed_dim)
