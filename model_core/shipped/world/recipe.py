"""The whole training of the model that composes, as one script in resumable chunks of ten minutes.

    python -m model_core.shipped.world.recipe RUN --minutes 10

A chunk goes on where the last one stopped, and stops by the clock. Chunk after chunk goes through the stages of
`stages.py`: VQGAN on fresh scenes, scenes as codes, the VQGAN's decoder, DalleBart with caption dropout, CLIP with hard
negatives, and the model's card. A finished stage is passed over. The shipped model is what it starts from.
"""

import argparse
import os
import signal
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from model_core.errors import InvalidValue
from model_core.shipped.world import stages
from model_core.shipped.world.scenes import World
from model_core.shipped.world.sheet import open_or_build
from model_core.shipped.world.sprites import Sprites
from model_core.training.clip import CLIPRecipe
from model_core.training.codecs.recipes import VQGANRecipe
from model_core.training.dalle_bart import DalleBartRecipe
from model_core.training.settings import with_settings
from model_core.training.signals import signals_kept
from model_core.training.start import start_from

START = "emoji"
SEED = 1  # of the scenes to train on


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How every stage is trained, and on how many shards of codes."""

    vqgan: VQGANRecipe
    dalle_bart: DalleBartRecipe
    clip: CLIPRecipe
    num_shards: int


CPU = Recipe(  # a night and more on two cores
    vqgan=VQGANRecipe(
        steps=9000,
        batch_size=16,
        whole_fraction=0.15,
        learning_rate=1e-3,
        warm_up_steps=200,
        decoder_steps=2500,
        decoder_batch_size=8,
        seed=SEED,
    ),
    dalle_bart=DalleBartRecipe(
        steps=20_000,
        batch_size=32,
        optimizer="muon",
        learning_rate=1.5e-3,
        warm_up_steps=200,
        heavy_share=0.1,  # corrupted as much as emoji were, things stay blobs however long
        light_corruption=0.05,
    ),
    clip=CLIPRecipe(steps=6000, batch_size=64, learning_rate=5e-4, warm_up_steps=200),
    num_shards=48,  # some 98 000 scenes
)
ACCELERATOR = Recipe(  # an hour; untried
    vqgan=replace(CPU.vqgan, steps=30_000, batch_size=64, decoder_steps=10_000, decoder_batch_size=32),
    dalle_bart=replace(CPU.dalle_bart, steps=20_000, batch_size=256, learning_rate=3e-3),
    clip=replace(CPU.clip, steps=15_000, batch_size=256, learning_rate=1e-3),
    num_shards=512,  # a million scenes
)
RECIPES = {"cpu": CPU, "accelerator": ACCELERATOR}


def run_chunk(run: Path, sprites: Sprites, recipe: Recipe, minutes: float) -> bool:
    """Trains for so many minutes, or to the end if that is near or `minutes` is 0; whether all is done."""
    if not run.exists():
        start_from(START, run)
    world, unseen = (World(sprites=sprites, seed=SEED, held_out=held_out) for held_out in (False, True))
    clock = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
    clock.daemon = True
    with signals_kept():  # each stage asks, and keeps what it has before it stops
        if minutes:
            clock.start()
        try:
            stages.train_vqgan(run, world, recipe.vqgan)
            stages.encode(run, world, recipe.num_shards)
            stages.train_decoder(run, world, recipe.num_shards, recipe.vqgan)
            stages.train_dalle_bart(run, world, recipe.num_shards, recipe.dalle_bart, unseen)
            stages.train_clip(run, world, recipe.clip)
            stages.export(run, unseen)
        except KeyboardInterrupt:
            return False
        finally:
            clock.cancel()
    return True


def with_changes(recipe: Recipe, changes: list[str]) -> Recipe:
    """The recipe with some values replaced, each as `stage.name=value`, or `num_shards=value`.

    Raises:
      InvalidValue: there is no such stage or setting, or the value is not of its type.
    """
    for change in changes:
        stage, dot, setting = change.partition(".")
        if dot and stage in ("vqgan", "dalle_bart", "clip"):
            recipe = replace(recipe, **{stage: with_settings(getattr(recipe, stage), [setting])})
        elif change.startswith("num_shards=") and change.removeprefix("num_shards=").isdigit():
            recipe = replace(recipe, num_shards=int(change.removeprefix("num_shards=")))
        else:
            raise InvalidValue(f"{change!r} is not vqgan.…, dalle_bart.…, clip.… or num_shards=NUMBER.", "set")
    return recipe


def main() -> None:
    """Trains for one chunk."""
    parser = argparse.ArgumentParser(description="Train the model of the world, one chunk.")
    parser.add_argument("run", type=Path, help="folder of the run; it is made, or gone on with")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long this chunk is; 0: until all is done")
    parser.add_argument("--recipe", choices=RECIPES, default="cpu")
    parser.add_argument("--set", action="append", default=[], help="a value of the recipe, as dalle_bart.steps=30000")
    chosen = parser.parse_args()
    recipe = with_changes(RECIPES[chosen.recipe], chosen.set)
    is_done = run_chunk(chosen.run, open_or_build(), recipe, chosen.minutes)
    print("all is done" if is_done else "the chunk is over; the same command goes on from here", flush=True)


if __name__ == "__main__":
    main()
