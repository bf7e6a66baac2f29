"""`train data encode`: captioned pictures → a data set of codes (`encoded.py`), shard by shard.

Pictures come in the forms that `folder.py` reads, tar files among them, or as a data set that was built before. A shard
is so many pairs in the order of the source, whatever is left out of them; so any process can make any shard, a shard
that is there is passed over, and what was stopped goes on. No more pictures than a batch are in memory.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from model_core import bundles
from model_core.errors import InvalidValue
from model_core.files import replacing, write_atomically
from model_core.stages import ImageDecoder, ImageScorer
from model_core.training.data import INDEX, Dataset, read_picture
from model_core.training.encoded import ABOUT, EncodedDataset, fingerprint, statistics
from model_core.training.folder import NO_CAPTION, pairs
from model_core.weights.json_files import read_json

BATCH = 32  # pictures at a time
STATISTICS = "statistics.md"

Picture = UInt8[np.ndarray, "height width 3"]
# A picture as it will be encoded and its first caption → whether it is taken.
Filter = Callable[[Picture, str], bool]
Pair = tuple[str, list[str], Path | bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSettings:
    """What is taken, and how it is shared out.

    Attributes:
      shard: pairs of the source in a shard.
      part, parts: this process makes every shard whose number leaves `part` when divided by `parts`.
      min_side: pixels of the shorter side of a picture that is taken.
      min_score: of a picture with its first caption, as the model's scorer gives it; None takes all.
      wanted: the operator's own function, as "module:function"; "" takes all.
    """

    shard: int = 4096
    part: int = 0
    parts: int = 1
    min_side: int = 1
    min_score: float | None = None
    wanted: str = ""


@dataclass(slots=True)
class _Shard:
    """What a shard holds so far."""

    codes: list[np.ndarray] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def encode(
    source: Path, out: Path, model: str, settings: EncodeSettings, told: Callable[[str], None] = print
) -> EncodedDataset:
    """Makes the shards that are missing; gives the data set.

    Args:
      model: whose codec spells the pictures, and whose scorer scores them; a name as `bundles.resolve` takes it.
      told: is shown a line for each shard.

    Raises:
      InvalidValue: a setting makes no sense, the source cannot be read, or `out` holds codes of another codec or cut.
      ModelNotFound, CorruptCheckpoint: as in `bundles.resolve`.
    """
    if settings.shard < 1 or not 0 <= settings.part < settings.parts:
        raise InvalidValue(
            f"shard must be at least 1 and part from 0 to parts - 1; got {settings.shard}, part {settings.part} of "
            f"{settings.parts}."
        )
    bundle = bundles.resolve(model)
    codec = ImageDecoder(bundle.codec, batch_size=BATCH)
    if codec.config.grid.codebook > 2**16:
        raise InvalidValue(f"{model} has {codec.config.grid.codebook} codes; shards hold at most {2**16}.")
    filters = list(_filters(bundle, settings))
    _say_what_it_is(out, codec, settings)
    source_pairs = _pairs_of(source)
    number = 0
    while some := list(islice(source_pairs, settings.shard)):
        name = f"{number:05d}"
        if number % settings.parts == settings.part and not (out / f"shard-{name}.json").exists():
            shard = _encode_shard(some, codec, filters, settings)
            _write(out, name, shard)
            told(f"shard {name}: {len(shard.captions)} pictures, {len(shard.left_out)} left out")
        number += 1
    dataset = EncodedDataset(out)
    write_atomically(out / STATISTICS, statistics(dataset).encode())
    return dataset


def _filters(bundle: bundles.Bundle, settings: EncodeSettings) -> Iterator[tuple[str, Filter]]:
    """The reason it gives, and the filter."""
    if settings.min_score is not None:
        if bundle.scorer is None:
            raise InvalidValue(f"{bundle.id} has no scorer to score pictures with.", "min_score")
        scorer, lowest = ImageScorer(bundle.scorer), settings.min_score
        yield f"scored below {lowest:g}", lambda picture, caption: scorer.score(caption, picture[None])[0] >= lowest
    if settings.wanted:
        module, _, name = settings.wanted.partition(":")
        try:
            yield f"{settings.wanted} did not want it", getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InvalidValue(
                f"filter is {settings.wanted!r}; it must be module:function, of a module that Python finds ({error}).",
                "filter",
            ) from error


def _say_what_it_is(out: Path, codec: ImageDecoder, settings: EncodeSettings) -> None:
    about = {
        "grid": list(codec.config.grid),
        "size": codec.config.size[0],
        "codec": fingerprint(codec.params),
        "shard": settings.shard,
    }
    out.mkdir(parents=True, exist_ok=True)
    if not (out / ABOUT).exists():
        write_atomically(out / ABOUT, json.dumps(about).encode())
    if (there := read_json(out, ABOUT)) != about:
        raise InvalidValue(
            f"{out} holds shards of {there}; this would add {about}. Encode into another folder, or delete it."
        )


def _pairs_of(source: Path) -> Iterator[Pair]:
    """(name, captions, picture) of everything, always in one order."""
    if (source / INDEX).is_file():
        for item in Dataset.open(source).split("train"):
            yield item.image, [prompt for prompt, _ in item.prompts], source / item.image
    elif source.is_dir():
        for name, caption, picture in pairs(source):
            yield name, [caption] if caption.strip() else [], picture
    else:
        raise InvalidValue(f"no such folder: {source}. Name a folder of pictures, of tar files, or a data set.")


def _encode_shard(
    some: Sequence[Pair],
    codec: ImageDecoder,
    filters: Sequence[tuple[str, Filter]],
    settings: EncodeSettings,
) -> _Shard:
    shard = _Shard()
    taken: list[Picture] = []
    for name, captions, source in some:
        try:
            picture = _picture(name, captions, source, codec.config.size, settings.min_side)
        except InvalidValue as error:
            shard.left_out.append((name, str(error)))
            continue
        if reason := _unwanted(picture, captions[0], filters):
            shard.left_out.append((name, reason))
            continue
        shard.digests.append(int.from_bytes(hashlib.sha256(picture.tobytes()).digest()[:8], "big"))
        shard.captions.append("\n".join(" ".join(caption.split()) for caption in captions))
        taken.append(picture)
        if len(taken) == BATCH:
            shard.codes.append(codec.encode(np.stack(taken)).astype(np.uint16))
            taken.clear()
    if taken:
        shard.codes.append(codec.encode(np.stack(taken)).astype(np.uint16))
    return shard


def _picture(name: str, captions: list[str], source: Path | bytes, size: tuple[int, int], min_side: int) -> Picture:
    if not captions:
        raise InvalidValue(NO_CAPTION)
    pixels = read_picture(source, name)
    if min(pixels.shape[:2]) < min_side:
        raise InvalidValue(f"its shorter side is below {min_side} pixels: {min(pixels.shape[:2])}")
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (size[1], size[0]), Image.Resampling.LANCZOS))


def _unwanted(picture: Picture, caption: str, filters: Sequence[tuple[str, Filter]]) -> str:
    return next((reason for reason, wanted in filters if not wanted(picture, caption)), "")


def _write(out: Path, name: str, shard: _Shard) -> None:
    """Writes the files of a shard; the last of them says that all are there."""
    texts = [caption.encode() for caption in shard.captions]
    if texts:
        with replacing(out / f"codes-{name}.npy") as file:
            np.save(file, np.concatenate(shard.codes))
        with replacing(out / f"captions-{name}.npy") as file:
            np.save(file, np.cumsum([0, *map(len, texts)], dtype=np.int64))
        with replacing(out / f"digests-{name}.npy") as file:
            np.save(file, np.array(shard.digests, np.uint64))
        write_atomically(out / f"captions-{name}.txt", b"".join(texts))
    told = {"rows": len(texts), "left_out": shard.left_out}
    write_atomically(out / f"shard-{name}.json", json.dumps(told).encode())
