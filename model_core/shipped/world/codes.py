"""Scenes as image codes, encoded once and kept in shards.

A shard is `codes/NUMBER.npy`, uint16 [scenes, 2, N]: the codes as the encoder spells them, and the canonical ones, in
which plain background is always spelled alike (see `training/canonical_codes.py`). Captions are not kept: a scene's
number gives them again.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt16

from model_core.codecs import vqgan
from model_core.codecs.vqgan import VQGANConfig
from model_core.errors import InvalidValue
from model_core.families.dalle_bart.dalle_bart import Params
from model_core.shipped.world.color import parse_hex
from model_core.shipped.world.description import WHITE
from model_core.shipped.world.grounds import SIDE, flat_color
from model_core.shipped.world.scenes import World
from model_core.shipped.world.vocabulary import COLOR_NAMES
from model_core.training.files import write_atomically

SHARD = 2048  # scenes
BATCH = 32  # pictures at a time
FLAT = (WHITE, *COLOR_NAMES)
TOLD_BY = 100  # scenes
MADE_BY = "made_by.txt"


def write_codes(folder: Path, world: World, config: VQGANConfig, params: Params, num_shards: int) -> None:
    """Encodes scenes shard by shard, passing over those that are there.

    Raises:
      InvalidValue: the folder holds codes of another VQGAN or of other scenes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest, made_by = _digest(world, params), folder / MADE_BY
    if made_by.exists() and made_by.read_text(encoding="utf-8") != digest:
        raise InvalidValue(
            f"{folder} holds codes of another VQGAN, or other scenes: delete it and what learned from it."
        )
    made_by.write_text(digest, encoding="utf-8")
    alone = _codes_of_flat_grounds(config, params)
    for number in range(num_shards):
        path = folder / f"{number:05d}.npy"
        if not path.exists():
            buffer = io.BytesIO()
            np.save(buffer, encode_shard(world, config, params, number, alone))
            write_atomically(path, buffer.getvalue())
            print(f"codes: {number + 1} of {num_shards} shards", flush=True)


def read_codes(folder: Path, num_shards: int) -> UInt16[np.ndarray, "M 2 N"]:
    """All shards in one array; row i is scene i."""
    return np.concatenate([np.load(folder / f"{number:05d}.npy") for number in range(num_shards)])


def encode_shard(
    world: World, config: VQGANConfig, params: Params, number: int, alone: dict[str, int]
) -> UInt16[np.ndarray, "M 2 N"]:
    """The codes of one shard."""
    rows = []
    for first in range(number * SHARD, (number + 1) * SHARD, BATCH):
        scenes = list(world.scenes(first, min(first + BATCH, (number + 1) * SHARD)))
        pixels = np.stack([scene.pixels for scene in scenes])
        codes = _encode(config, params, pixels)
        for scene, spelled in zip(scenes, codes, strict=True):
            ground = scene.description.ground
            plain = spelled
            if ground in FLAT:
                plain = np.where(shows_only(scene.pixels, flat_color(ground), config.grid), alone[ground], spelled)
            rows.append(np.stack([spelled, plain]))
    return np.stack(rows).astype(np.uint16)


def shows_only(pixels: UInt8[np.ndarray, "side side 3"], color: str, grid: int) -> Bool[np.ndarray, " N"]:
    """For each place of the grid, whether all of its pixels have this colour."""
    patch = len(pixels) // grid
    wanted = np.round(parse_hex(color) * 255).astype(np.uint8)
    places = (pixels == wanted).all(-1).reshape(grid, patch, grid, patch)
    return places.all(axis=(1, 3)).reshape(-1)


def _codes_of_flat_grounds(config: VQGANConfig, params: Params) -> dict[str, int]:
    """The commonest code of each picture of one colour."""
    colors = np.stack([np.round(parse_hex(flat_color(name)) * 255) for name in FLAT]).astype(np.uint8)
    pixels = np.broadcast_to(colors[:, None, None], (len(FLAT), SIDE, SIDE, 3))
    return {
        name: int(np.bincount(row).argmax()) for name, row in zip(FLAT, _encode(config, params, pixels), strict=True)
    }


def _encode(config: VQGANConfig, params: Params, pixels: UInt8[np.ndarray, "B side side 3"]) -> Int[np.ndarray, "B N"]:
    """Codes of up to `BATCH` pictures; the last is repeated up to that, for one compiled program."""
    rows = np.arange(BATCH).clip(max=len(pixels) - 1)
    return np.asarray(vqgan.encode_pixels(config, params, pixels[rows].astype(np.float32) / 255))[: len(pixels)]


def _digest(world: World, params: Params) -> str:
    """What tells the codes of one VQGAN from another's, and scenes from those that other code makes of the numbers."""
    digest = hashlib.sha256(np.asarray(params["quantize"]["embedding"]["embedding"]).tobytes())
    for scene in world.scenes(0, TOLD_BY):
        digest.update(repr(scene.description).encode() + scene.pixels.tobytes())
    return digest.hexdigest()[:16]
