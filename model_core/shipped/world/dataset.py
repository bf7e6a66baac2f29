"""Scenes as a data set on disk, for training as on any other pictures.

Shards of a thousand pictures lie in folders of their own; a shard that is there is not drawn again, so a stopped build
goes on.
"""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from model_core.errors import InvalidValue
from model_core.shipped.world.captions import plain_caption
from model_core.shipped.world.scenes import World
from model_core.shipped.world.sprites import Sprites
from model_core.training.data import Item, write_index

SHARD = 1000  # pictures of a folder
PROMPTS = 4  # captions of a picture


def build_world(
    out: Path, sprites: Sprites, num_scenes: int, seed: int = 0, first: int = 0, num_validation: int = 0
) -> int:
    """Writes scenes and their captions as a data set; gives the number of its pictures.

    Args:
      out: folder of the data set.
      num_scenes: how many scenes to train on.
      seed: scenes of one seed are always the same.
      first: number of the first scene, so that several builds can share a seed.
      num_validation: how many scenes with held-out combinations are in the split "validation".

    Raises:
      InvalidValue: a number is out of range.
    """
    for name, value, low in (("scenes", num_scenes, 1), ("first", first, 0), ("validation", num_validation, 0)):
        if value < low:
            raise InvalidValue(f"{name} must be at least {low}; got {value}.", name)
    known, unseen = (World(sprites=sprites, seed=seed, held_out=held_out) for held_out in (False, True))
    items = [
        *_items(out, known, first, first + num_scenes, "train"),
        *_items(out, unseen, 0, num_validation, "validation"),
    ]
    write_index(out, items)
    return len(items)


def _items(out: Path, world: World, first: int, last: int, split: str) -> Iterator[Item]:
    for start in range(first, last, SHARD):
        shard = f"images/{split}-{world.seed}-{start:07d}"
        stop = min(start + SHARD, last)
        is_there = (out / shard / _name(stop - 1)).is_file()  # the last one is written last
        (out / shard).mkdir(parents=True, exist_ok=True)
        for index in range(start, stop):
            if not is_there:
                Image.fromarray(world.scene(index).pixels).save(out / shard / _name(index))
            description = world.describe(index)
            yield Item(
                image=f"{shard}/{_name(index)}",
                prompts=tuple((caption, 1.0) for caption in dict.fromkeys(world.captions(index, PROMPTS))),
                concept=plain_caption(description),
                style=description.style,
                split=split,
            )


def _name(index: int) -> str:
    return f"{index:07d}.png"
