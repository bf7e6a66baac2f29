"""Batches for the networks that read prompts: scenes as codes for a DalleBart, near misses for a CLIP."""

import random
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8, UInt16

from model_core.families.dalle_bart.text import Tokenizer
from model_core.scorers import clip
from model_core.scorers.clip import CLIPConfig
from model_core.shipped.world.captions import caption_of
from model_core.shipped.world.negatives import near_misses
from model_core.shipped.world.scenes import World, draw_scene
from model_core.training.clip import CLIPRecipe, augment
from model_core.training.dalle_bart import DalleBartRecipe

GROUP = 4  # scenes of a CLIP's batch that differ in one thing from the first of them

Batch = dict[str, np.ndarray]
Reconstruct = Callable[[UInt8[np.ndarray, "B side side 3"]], UInt8[np.ndarray, "B side side 3"]]


def dalle_bart_batch(
    world: World,
    codes: UInt16[np.ndarray, "M 2 N"],
    tokenizer: Tokenizer,
    recipe: DalleBartRecipe,
    text_length: int,
    rng: np.random.Generator,
) -> Batch:
    """Canonical codes of scenes drawn by chance, each with a caption made afresh; some captions dropped."""
    chosen = rng.integers(len(codes), size=recipe.batch_size)
    chance = random.Random(int(rng.integers(2**62)))
    tokens, mask = tokenizer([caption_of(world.describe(int(index)), chance) for index in chosen])
    empty_tokens, empty_mask = tokenizer.unconditional(recipe.batch_size)
    dropped = (rng.random(recipe.batch_size) < recipe.prompt_dropout)[:, None]
    return {
        "codes": codes[chosen, 1].astype(np.int32),
        "text_tokens": np.where(dropped, empty_tokens, tokens)[:, :text_length],
        "text_mask": np.where(dropped, empty_mask, mask)[:, :text_length],
    }


def clip_batch(
    world: World,
    step: int,
    reconstruct: Reconstruct,
    tokenizer: Tokenizer,
    config: CLIPConfig,
    recipe: CLIPRecipe,
    rng: np.random.Generator,
) -> Batch:
    """Scenes in groups that differ in one thing; some as a VQGAN draws them, all shifted a little."""
    chance = random.Random(int(rng.integers(2**62)))
    descriptions, index = [], step * recipe.batch_size
    while len(descriptions) < recipe.batch_size:
        first = world.describe(index)
        descriptions += [first, *near_misses(world, first, GROUP - 1, chance)]
        index += 1
    del descriptions[recipe.batch_size :]
    pixels = np.stack([draw_scene(each, world.sprites, chance)[0] for each in descriptions])
    again = rng.random(len(pixels)) < recipe.reconstructed_share
    pixels = np.where(again[:, None, None, None], reconstruct(pixels), pixels)
    images = [augment(picture, recipe.max_shift, rng) for picture in pixels]
    tokens, mask = tokenizer([caption_of(each, chance) for each in descriptions])
    return {"pixels": clip.preprocess(config, images), "text_tokens": tokens, "text_mask": mask}
