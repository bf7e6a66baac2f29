"""Scenes as image codes, encoded once and kept in shards.

A shard is `codes/NUMBER.npy`, uint16 [scenes, 2, N]: the codes as the encoder spells them, and the canonical ones, in
which plain background is always spelled alike (see `training/canonical_codes.py`). Captions are not kept: a scene's
number gives them again.
"""

import hashlib
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
from model_core.shipped.world.scenes import World
from model_core.shipped.world.sprites import FLAT_GROUNDS
from model_core.training.signals import signals_kept

SHARD = 2048  # scenes
BATCH = 32  # pictures at a time
TOLD_BY = 100  # scenes
KEPT = (56, 80, 112, 144, 192)  # codes of a scene that are trained on, where so many are enough
GROUND = 16  # of them at least are its ground
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


def read_codes(folder: Path, num_shards: int) -> UInt16[np.ndarray, "M 2 N"]:
    """All shards in one array; row i is scene i."""
    return np.concatenate([np.load(folder / f"{number:05d}.npy") for number in range(num_shards)])


def by_drawn(codes: UInt16[np.ndarray, "M 2 N"], most: int | None = None) -> dict[int, Int[np.ndarray, " chosen"]]:
    """The scenes by how many codes of each are trained on: the fewest of `KEPT` that are enough for its things, or all.

    What is drawn is each canonical code that is not the commonest one of its scene, its ground; of that `GROUND` codes
    at least are kept as well.

    Args:
      most: scenes of which more are trained on are left out; None: none are.

    Raises:
      InvalidValue: that leaves none.
    """
    length = codes.shape[2]
    drawn = length - np.array([np.bincount(row).max() for row in codes[:, 1]])
    sizes = sorted({min(size, length) for size in (*KEPT, length)})
    enough = np.array(sizes)[np.searchsorted(sizes, np.minimum(drawn + GROUND, length))]
    if most is not None and (enough > most).all():
        raise InvalidValue(f"drawn_codes is {most}, but every scene takes {enough.min()} codes or more.", "drawn_codes")
    wanted = [size for size in sizes if (enough == size).any() and (most is None or size <= most)]
    return {size: np.flatnonzero(enough == size) for size in wanted}


def drawn_first(
    codes: Int[np.ndarray, "B N"], count: int, rng: np.random.Generator
) -> tuple[Int32[np.ndarray, "B count"], Float32[np.ndarray, "B count"]]:
    """`count` positions of each row, rising, and how many codes each stands for.

    They are those of codes that are not the row's commonest one, its ground, which stand for themselves, and others by
    chance, which stand for all of the ground: without that a model would think that most of a picture is drawn. Where
    more are drawn, the first of them: what is kept has what lies before it. After token dropping (Hou et al.,
    arXiv:2203.13240), here of what is known beforehand to say little.
    """
    is_ground = codes == np.array([np.bincount(row).argmax() for row in codes])[:, None]
    order = np.arange(codes.shape[1]) / codes.shape[1]
    rank = np.where(is_ground, 1 + rng.random(codes.shape), order)
    positions = np.sort(np.argsort(rank, axis=1)[:, :count], axis=1).astype(np.int32)
    kept = np.take_along_axis(is_ground, positions, axis=1)
    of_ground = is_ground.sum(1) / np.maximum(kept.sum(1), 1)
    return positions, np.where(kept, of_ground[:, None], 1).astype(np.float32)


def encode_shard(
    world: World, config: VQGANConfig, params: Params, number: int, alone: dict[str, int]
) -> UInt16[np.ndarray, "M 2 N"]:
    """The codes of one shard."""
    scenes = list(world.scenes(number * SHARD, (number + 1) * SHARD))
    both = []
    for scene, codes in zip(scenes, _encode(config, params, np.stack([each.pixels for each in scenes])), strict=True):
        ground, plain = scene.description.ground, codes
        if ground in FLAT_GROUNDS:
            plain = np.where(shows_only(scene.pixels, flat_color(ground), config.grid), alone[ground], codes)
        both.append((codes, plain))
    return np.array(both, np.uint16)


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
    digest = hashlib.sha256(np.asarray(params["quantize"]["embedding"]["embedding"]).tobytes())
    for scene in world.scenes(0, TOLD_BY):
        digest.update(repr(scene.description).encode() + scene.pixels.tobytes())
    return digest.hexdigest()[:16]
