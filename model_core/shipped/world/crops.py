"""Batches of pictures for a VQGAN: squares cut out of fresh scenes, mostly around a thing."""

import numpy as np
from jaxtyping import Float

from model_core.shipped.world.scenes import Scene, World

ON_A_THING = 0.8  # share of the squares around a thing; the others are anywhere
PER_SCENE = 2  # squares of one scene


def crop_batch(
    world: World, step: int, count: int, side: int, rng: np.random.Generator
) -> Float[np.ndarray, "B h w 3"]:
    """`count` squares of `side` pixels, 0…1, from scenes that no other step sees."""
    scenes = fresh_scenes(world, step, -(-count // PER_SCENE))
    cuts = [cut_square(scenes[i // PER_SCENE], side, rng) for i in range(count)]
    return np.stack(cuts).astype(np.float32) / 255


def whole_batch(world: World, step: int, count: int) -> Float[np.ndarray, "B 128 128 3"]:
    """`count` whole scenes, 0…1, that no other step sees."""
    return np.stack([scene.pixels for scene in fresh_scenes(world, step, count)]).astype(np.float32) / 255


def fresh_scenes(world: World, step: int, count: int) -> list[Scene]:
    """Scenes for one step, if every step asks for as many."""
    return list(world.scenes(step * count, (step + 1) * count))


def cut_square(scene: Scene, side: int, rng: np.random.Generator) -> np.ndarray:
    """A square of a scene, uint8 [side, side, 3], around the middle of one of its things or anywhere."""
    free = scene.pixels.shape[0] - side
    left, top = (int(place) for place in rng.integers(free + 1, size=2))
    if rng.random() < ON_A_THING:
        boxes = [box for group in scene.boxes for box in group]
        box = boxes[int(rng.integers(len(boxes)))]
        wanted = [middle - side / 2 + rng.uniform(-0.3, 0.3) * side for middle in box.center]
        left, top = (round(min(max(place, 0), free)) for place in wanted)
    return scene.pixels[top : top + side, left : left + side]
