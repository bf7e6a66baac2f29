"""Batches for the three networks: squares of fresh scenes for a VQGAN, scenes as codes for a DalleBart, near misses for
a CLIP.
"""

import random
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int, UInt8, UInt16

from model_core.pictures.images import to_pixels
from model_core.scorers import clip
from model_core.scorers.clip import CLIPConfig
from model_core.shipped.world.captions import caption_of
from model_core.shipped.world.codes import kept_of
from model_core.shipped.world.negatives import near_misses
from model_core.shipped.world.scenes import Scene, World, draw_scene
from model_core.tokenizer import Tokenizer
from model_core.training.clip import CLIPRecipe, augment
from model_core.training.dalle_bart import DalleBartRecipe, make_rows
from model_core.training.sequences import Rows

ON_A_THING = 0.8  # share of the squares around a thing; the others are anywhere
PER_SCENE = 2  # squares of one scene
GROUP = 4  # scenes of a CLIP's batch that differ in one thing from the first of them

Batch = dict[str, np.ndarray]
Reconstruct = Callable[[UInt8[np.ndarray, "B side side 3"]], UInt8[np.ndarray, "B side side 3"]]


def crop_batch(
    world: World, step: int, count: int, side: int, rng: np.random.Generator
) -> Float32[np.ndarray, "B h w 3"]:
    """`count` squares of `side` pixels, 0…1, mostly around a thing, from scenes that no other step sees."""
    scenes = fresh_scenes(world, step, -(-count // PER_SCENE))
    return to_pixels(np.stack([cut_square(scenes[i // PER_SCENE], side, rng) for i in range(count)]))


def whole_batch(world: World, step: int, count: int) -> Float32[np.ndarray, "B 128 128 3"]:
    """`count` whole scenes, 0…1, that no other step sees."""
    return to_pixels(np.stack([scene.pixels for scene in fresh_scenes(world, step, count)]))


def fresh_scenes(world: World, step: int, count: int) -> list[Scene]:
    """Scenes for one step, if every step asks for as many."""
    return list(world.scenes(step * count, (step + 1) * count))


def cut_square(scene: Scene, side: int, rng: np.random.Generator) -> UInt8[np.ndarray, "side side 3"]:
    """A square of a scene, around the middle of one of its things or anywhere."""
    free = scene.pixels.shape[0] - side
    left, top = (int(place) for place in rng.integers(free + 1, size=2))
    if rng.random() < ON_A_THING:
        boxes = [box for group in scene.boxes for box in group]
        box = boxes[int(rng.integers(len(boxes)))]
        wanted = [middle - side / 2 + rng.uniform(-0.3, 0.3) * side for middle in box.center]
        left, top = (round(min(max(place, 0), free)) for place in wanted)
    return scene.pixels[top : top + side, left : left + side]


def dalle_bart_batch(
    world: World,
    codes: UInt16[np.ndarray, "M 3 N"],
    among: dict[int, Int[np.ndarray, " chosen"]],
    tokenizer: Tokenizer,
    recipe: DalleBartRecipe,
    text_length: int,
    rng: np.random.Generator,
) -> Rows:
    """Canonical codes of scenes drawn by chance, with captions made afresh; some captions dropped.

    Args:
      among: the scenes by how many codes of each are trained on, as `codes.by_size` gives them; a batch has some of
        one such number.
    """
    shares = np.array([len(scenes) for scenes in among.values()])
    kept = list(among)[rng.choice(len(among), p=shares / shares.sum())]
    chosen = rng.choice(among[kept], size=recipe.batch_size)
    chance = random.Random(int(rng.integers(2**62)))
    captions = [caption_of(world.describe(int(index)), chance) for index in chosen]
    spelled = codes[chosen, 1].astype(np.int32)
    rows = make_rows(spelled, captions, tokenizer, recipe, text_length, rng)
    if kept < codes.shape[2]:
        rows["positions"], rows["weights"] = kept_of(codes[chosen, 2] > 0, kept, rng)
    return rows


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
