"""How well a VQGAN spells things of every size: PSNR within the boxes of scenes that training never sees.

`python -m model_core.shipped.world.sizes RUN` measures a run's VQGAN as far as it has come, beside the one it started
from.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from model_core.codecs import vqgan
from model_core.codecs.vqgan import VQGANConfig
from model_core.families.dalle_bart.dalle_bart import Params
from model_core.shipped.world.scenes import Scene, World
from model_core.shipped.world.sprites import Sprites
from model_core.training.loop import load_state
from model_core.training.presets import EMOJI
from model_core.training.start import start_of
from model_core.training.vqgan import initial_state
from model_core.weights import checkpoint

EDGES = (0, 36, 48, 64, 88, 129)  # pixels of the longer side: where one class of sizes ends and the next begins
BATCH = 16
SEED = 1_000_003  # of the scenes that measurements are made on


def psnr_by_size(config: VQGANConfig, params: Params, scenes: Sequence[Scene]) -> dict[str, tuple[float, int]]:
    """PSNR in decibels, and the number of boxes, for each class of sizes and for whole pictures.

    The error is the mean over all boxes of a class, each box counting alike.
    """
    errors: defaultdict[str, list[float]] = defaultdict(list)
    for first in range(0, len(scenes), BATCH):
        part = [*scenes[first : first + BATCH]]
        pixels = np.stack([scene.pixels for scene in (part + [part[-1]] * BATCH)[:BATCH]]).astype(np.float32) / 255
        got = np.asarray(vqgan.decode_codes(config, params, vqgan.encode_pixels(config, params, pixels)))
        squared = ((got.clip(0, 1) - pixels) ** 2).mean(-1)
        for scene, error in zip(part, squared, strict=False):
            errors["whole pictures"].append(float(error.mean()))
            for box in (box for group in scene.boxes for box in group):
                inside = error[box.top : box.bottom, box.left : box.right]
                errors[_size_class(max(box.width, box.height))].append(float(inside.mean()))
    return {
        name: (-10 * float(np.log10(np.mean(errors[name]))), len(errors[name])) for name in _names() if errors[name]
    }


def _names() -> list[str]:
    return [f"{low}–{high - 1} px" for low, high in pairwise(EDGES)] + ["whole pictures"]


def _size_class(side: int) -> str:
    return _names()[int(np.searchsorted(EDGES, side, side="right")) - 1]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="PSNR of things by size.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=256, help="scenes to measure on")
    chosen = parser.parse_args()
    start = start_of(chosen.run)
    if start is None:
        parser.error(f"{chosen.run} did not start from a model")
    config, before = checkpoint.load_vqgan(start.vqgan)
    state = load_state(chosen.run / "vqgan" / "state.msgpack", initial_state(config, EMOJI.vqgan_recipe, before))
    scenes = list(World(sprites=Sprites.open(), seed=SEED, held_out=True).scenes(0, chosen.count))
    old, new = (psnr_by_size(config, params, scenes) for params in (before, state["params"]))
    print(f"step {int(state['step'])}; PSNR in dB on {chosen.count} held-out scenes")
    print("| longer side | things | before | now |\n|---|---|---|---|")
    for name, (value, count) in new.items():
        print(f"| {name} | {count} | {old[name][0]:.2f} | {value:.2f} |")


if __name__ == "__main__":
    main()
