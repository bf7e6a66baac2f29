"""The training set on disk: pictures, the prompts that describe them, and the folder both live in.

A data set is a folder with `dataset.jsonl` (one item a line) and the pictures it names. Every picture is square RGB of
one size, stored without loss. Knows neither where the pictures came from nor which model learns from them.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from model_core.errors import InvalidValue

INDEX = "dataset.jsonl"
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
CAPTION_FILES = ("captions.csv", "captions.jsonl")
SPLITS = ("train", "validation", "unseen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One picture and what may be said of it.

    Attributes:
      image: path of the picture, relative to the data set's folder.
      prompts: (prompt, weight) pairs; a training step draws one, in proportion to its weight.
      concept: what is drawn; pictures of one concept share it. A Unicode hexcode for emoji, the file's stem otherwise.
      style: who drew it; empty where that is unknown.
      split: "train"; "validation": a combination kept back; "unseen": a concept that is in no other split.
    """

    image: str
    prompts: tuple[tuple[str, float], ...]
    concept: str
    style: str = ""
    split: str = "train"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set on disk: its folder and its items."""

    folder: Path
    items: tuple[Item, ...]

    @classmethod
    def open(cls, folder: Path) -> "Dataset":
        """Reads `dataset.jsonl`; pictures stay on disk until asked for.

        Raises:
          InvalidValue: there is no data set in the folder, or a line of it is not an item.
        """
        index = Path(folder) / INDEX
        if not index.is_file():
            raise InvalidValue(f"no data set in {folder}: {INDEX} is missing. Build one first.")
        lines = index.read_text(encoding="utf-8").splitlines()
        items = tuple(_parse_item(line, f"{index}, line {number}") for number, line in enumerate(lines, 1))
        if not items:
            raise InvalidValue(f"the data set in {folder} is empty.")
        return cls(Path(folder), items)

    def split(self, name: str) -> tuple[Item, ...]:
        """The items of one split: "train", "validation" or "unseen"."""
        if name not in SPLITS:
            raise InvalidValue(f"no split {name!r}: a data set has {', '.join(SPLITS)}.")
        return tuple(item for item in self.items if item.split == name)

    def load_pixels(self, items: Sequence[Item]) -> UInt8[np.ndarray, "B height width 3"]:
        """Reads the pictures of `items`, in their order, as bytes 0…255.

        Raises:
          InvalidValue: a picture is missing or broken, or its size differs from the others'.
        """
        pixels = [np.asarray(_read_picture(self.folder / item.image)) for item in items]
        shapes = {array.shape for array in pixels}
        if len(shapes) != 1:
            raise InvalidValue(f"pictures to load together must have one size; got {sorted(shapes) or 'no picture'}.")
        return np.stack(pixels)


def draw_prompt(item: Item, rng: np.random.Generator) -> str:
    """Draws one of the item's prompts, in proportion to the weights."""
    weights = np.array([weight for _, weight in item.prompts])
    return item.prompts[rng.choice(len(weights), p=weights / weights.sum())][0]


def write_index(folder: Path, items: Iterable[Item]) -> None:
    """Writes `dataset.jsonl` in one step: a reader sees the whole of it or nothing. Write the pictures first."""
    partial = Path(folder) / f"{INDEX}.partial"
    lines = (json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items)
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(Path(folder) / INDEX)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReport:
    """What became of a user's pictures.

    Attributes:
      num_items: pictures taken into the data set.
      skipped: picture and reason, for each picture left out.
    """

    num_items: int
    skipped: tuple[tuple[str, str], ...]


def build_folder(images: Path, out: Path, size: int) -> FolderReport:
    """Turns a folder of captioned pictures into a data set of `size` × `size` pictures.

    Captions are the text file beside each picture (`cat.png`, `cat.txt`) or, for all of them, one `captions.csv`
    (`file,caption`) or `captions.jsonl` (`{"file": …, "caption": …}`). Pictures are turned upright, put on white,
    resized and centre-cropped.

    Returns:
      how many were taken and, for every other picture, why not.

    Raises:
      InvalidValue: the folder or its captions cannot be read, or no picture is usable; every reason is named.
    """
    images, out = Path(images), Path(out)
    if size < 1:
        raise InvalidValue(f"size must be at least 1 pixel; got {size}.", "size")
    if not images.is_dir():
        raise InvalidValue(f"no such folder: {images}. Name a folder of pictures.")
    (out / "images").mkdir(parents=True, exist_ok=True)
    items, skipped = [], []
    for file, caption in _captions(images):
        try:
            if not caption.strip():
                raise InvalidValue("it has no caption: write one in a .txt file beside it, or in captions.csv")
            picture = _square(_read_picture(images / file), size)
        except InvalidValue as error:
            skipped.append((file, str(error)))
            continue
        name = f"images/{len(items):06d}.png"
        picture.save(out / name)
        items.append(Item(image=name, prompts=((caption.strip(), 1.0),), concept=Path(file).stem))
    if not items:
        reasons = "".join(f"\n  {file}: {reason}" for file, reason in skipped)
        raise InvalidValue(f"no usable picture in {images} ({', '.join(PICTURE_SUFFIXES)}).{reasons}")
    write_index(out, items)
    return FolderReport(num_items=len(items), skipped=tuple(skipped))


def _parse_item(line: str, place: str) -> Item:
    try:
        raw = json.loads(line)
        prompts = tuple((str(prompt), float(weight)) for prompt, weight in raw.pop("prompts"))
        item = Item(prompts=prompts, **raw)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidValue(f"{place} is not an item of a data set ({error}).") from error
    if not prompts or min(weight for _, weight in prompts) <= 0:
        raise InvalidValue(f"{place}: an item needs at least one prompt, and weights above 0.")
    if item.split not in SPLITS:
        raise InvalidValue(f"{place}: split is {item.split!r}; allowed are {', '.join(SPLITS)}.")
    return item


def _read_picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except FileNotFoundError as error:
        raise InvalidValue(f"no such picture: {path}") from error
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidValue(f"not a readable picture: {path} ({error})") from error
    return Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")


def _square(picture: Image.Image, size: int) -> Image.Image:
    return ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)


def _captions(images: Path) -> list[tuple[str, str]]:
    """(file, caption) of every picture; an empty caption where there is none."""
    found = [images / name for name in CAPTION_FILES if (images / name).is_file()]
    if len(found) > 1:
        raise InvalidValue(f"both {' and '.join(CAPTION_FILES)} are in {images}: keep one.")
    if found:
        return _read_caption_file(found[0])
    pictures = sorted(path for path in images.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    beside = {path: path.with_suffix(".txt") for path in pictures}
    return [(path.name, _read_text(text) if text.is_file() else "") for path, text in beside.items()]


def _read_caption_file(path: Path) -> list[tuple[str, str]]:
    text = _read_text(path)
    try:
        if path.suffix == ".csv":
            rows = list(csv.DictReader(text.splitlines(), strict=True))
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [(str(row["file"]), str(row["caption"] or "")) for row in rows]
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise InvalidValue(f"{path} cannot be read: every row needs `file` and `caption` ({error!r}).") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8.") from error
