"""Scenes as image codes, encoded once and kept in shards.

A shard is `codes/NUMBER.npy`, uint16 [scenes, 3, N]: the codes as the encoder spells them; the canonical ones, in which
plain background is always spelled alike (see `training/canonical_codes.py`); and 1 where something is drawn on the
ground, else 0. Captions are not kept: a scene's number gives them again.
"""

import hashlib
import itertools
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, UInt8, UInt16

from model_core.batches import in_batches
from model_core.codecs import vqgan
from model_core.codecs.vqgan import Params, VQGANConfig
from model_core.errors import InvalidValue
from model_core.families.conditions import Grid
from model_core.files import replacing
from model_core.pictures.images import to_pixels
from model_core.shipped.world.color import parse_hex
from model_core.shipped.world.grounds import SIDE, flat_color
from model_core.shipped.world.scenes import Scene, World
from model_core.shipped.world.sprites import FLAT_GROUNDS
from model_core.training.signals import signals_kept

SHARD = 2048  # scenes
BATCH = 32  # pictures at a time
TOLD_BY = 100  # scenes
KEPT = (48, 64, 96, 128, 160, 208)  # codes of a scene that are trained on, where so many are enough
GROUND = 12  # of them at least are its ground
FORMAT = b"3"  # planes of a shard
MADE_BY = "made_by.txt"


def write_codes(folder: Path, world: World, config: VQGANConfig, params: Params, num_shards: int) -> None:
    """Encodes scenes shard by shard, passing over those that are there.

    Raises:
      InvalidValue: the folder holds codes of another VQGAN or of other scenes.
      KeyboardInterrupt: stopped by a signal, between two shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest, made_by = _digest(world, params), folder / MADE_BY
    if made_by.exists() and made_by.read_text(encoding="utf-8") != digest:
        raise InvalidValue(
            f"{folder} holds codes of another VQGAN, or other scenes: delete it and what learned from it."
        )
    made_by.write_text(digest, encoding="utf-8")
    alone = _codes_of_flat_grounds(config, params)
    with signals_kept() as interrupted:
        for number in range(num_shards):
            path = folder / f"{number:05d}.npy"
            if not path.exists():
                codes = encode_shard(world, config, params, number, alone)
                with replacing(path) as file:
                    np.save(file, codes)
                print(f"codes: {number + 1} of {num_shards} shards", flush=True)
            if interrupted():
                raise KeyboardInterrupt


def read_codes(folder: Path, num_shards: int) -> UInt16[np.ndarray, "M 3 N"]:
    """All shards in one array; row i is scene i."""
    return np.concatenate([np.load(folder / f"{number:05d}.npy") for number in range(num_shards)])


def by_size(codes: UInt16[np.ndarray, "M 3 N"]) -> dict[int, Int[np.ndarray, " chosen"]]:
    """The scenes by how many codes of each are trained on: the fewest of `KEPT` that are enough, or all.

    Enough are those of all that is drawn, and `GROUND` of the others.
    """
    length = codes.shape[2]
    sizes = np.array(sorted({min(size, length) for size in (*KEPT, length)}))
    wanted = np.minimum(codes[:, 2].sum(axis=1, dtype=int) + GROUND, length)
    enough = sizes[np.searchsorted(sizes, wanted)]
    return {int(size): np.flatnonzero(enough == size) for size in np.unique(enough)}


def kept_of(
    is_drawn: Bool[np.ndarray, "B N"], count: int, rng: np.random.Generator
) -> tuple[Int32[np.ndarray, "B count"], Float32[np.ndarray, "B count"]]:
    """`count` positions of each row, rising, and how many codes each stands for.

    They are those of what is drawn, which stand for themselves, and others by chance, which stand for all of the
    ground: without that a model would think that most of a picture is drawn. After token dropping (Hou et al.,
    arXiv:2203.13240), here of what is known beforehand to say little.
    """
    rank = np.where(is_drawn, 0, 1 + rng.random(is_drawn.shape))
    positions = np.sort(np.argsort(rank, axis=1, kind="stable")[:, :count], axis=1).astype(np.int32)
    is_ground = ~np.take_along_axis(is_drawn, positions, axis=1)
    stands_for = (~is_drawn).sum(axis=1) / np.maximum(is_ground.sum(axis=1), 1)
    return positions, np.where(is_ground, stands_for[:, None], 1).astype(np.float32)


def encode_shard(
    world: World, config: VQGANConfig, params: Params, number: int, alone: dict[str, int]
) -> UInt16[np.ndarray, "M 3 N"]:
    """The codes of one shard."""
    scenes = list(world.scenes(number * SHARD, (number + 1) * SHARD))
    rows = []
    for scene, codes in zip(scenes, _encode(config, params, np.stack([each.pixels for each in scenes])), strict=True):
        ground, plain = scene.description.ground, codes
        if ground in FLAT_GROUNDS:
            plain = np.where(shows_only(scene.pixels, flat_color(ground), config.grid), alone[ground], codes)
        rows.append((codes, plain, drawn_at(scene, config.grid)))
    return np.array(rows, np.uint16)


def drawn_at(scene: Scene, grid: Grid) -> Bool[np.ndarray, " N"]:
    """For each place of the grid, whether the box of a drawing reaches into it."""
    places = np.zeros((grid.rows, grid.columns), bool)
    high, wide = (side // count for side, count in zip(scene.pixels.shape, places.shape, strict=False))
    for box in itertools.chain.from_iterable(scene.boxes):
        places[box.top // high : -(-box.bottom // high), box.left // wide : -(-box.right // wide)] = True
    return places.reshape(-1)


def shows_only(pixels: UInt8[np.ndarray, "side side 3"], color: str, grid: Grid) -> Bool[np.ndarray, " N"]:
    """For each place of the grid, whether all of its pixels have this colour."""
    places = (pixels == _as_bytes(color)).all(-1).reshape(grid.rows, len(pixels) // grid.rows, grid.columns, -1)
    return places.all(axis=(1, 3)).reshape(-1)


def _codes_of_flat_grounds(config: VQGANConfig, params: Params) -> dict[str, int]:
    """The commonest code of each picture of one colour."""
    colors = np.stack([_as_bytes(flat_color(name)) for name in FLAT_GROUNDS])
    codes = _encode(config, params, np.broadcast_to(colors[:, None, None], (len(FLAT_GROUNDS), SIDE, SIDE, 3)))
    return {name: int(np.bincount(row).argmax()) for name, row in zip(FLAT_GROUNDS, codes, strict=True)}


def _as_bytes(color: str) -> UInt8[np.ndarray, " 3"]:
    return np.round(parse_hex(color) * 255).astype(np.uint8)


def _encode(config: VQGANConfig, params: Params, pixels: UInt8[np.ndarray, "M side side 3"]) -> Int[np.ndarray, "M N"]:
    return in_batches(lambda rows: vqgan.encode(config, params, to_pixels(rows)), pixels, BATCH)


def _digest(world: World, params: Params) -> str:
    """What tells the codes of one VQGAN from another's, and scenes from those that other code makes of the numbers."""
    digest = hashlib.sha256(FORMAT + np.asarray(params["quantize"]["embedding"]["embedding"]).tobytes())
    for scene in world.scenes(0, TOLD_BY):
        digest.update(repr(scene.description).encode() + scene.pixels.tobytes())
    return digest.hexdigest()[:16]
