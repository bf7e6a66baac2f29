"""The training set on disk: pictures, the prompts that describe them, and the folder both live in.

A data set is a folder with `dataset.jsonl` (one item a line) and the pictures it names. Every picture is square RGB of
one size, stored without loss.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from model_core.errors import InvalidValue
from model_core.files import write_atomically
from model_core.pictures.images import READABLE_FORMATS, read_image

INDEX = "dataset.jsonl"
FORMATS = (*READABLE_FORMATS, "BMP", "GIF")
MAX_PIXELS = 128 * 2**20  # of a user's own pictures: more than any camera's
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
        try:
            lines = index.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidValue(f"{index} cannot be read as UTF-8 text ({error}). Build it again.") from error
        if lines == [""]:
            raise InvalidValue(f"the data set in {folder} is empty.")
        items = tuple(_parse_item(line, f"{index}, line {number}") for number, line in enumerate(lines, 1))
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
        pixels = [read_picture(self.folder / item.image, item.image) for item in items]
        shapes = {array.shape for array in pixels}
        if len(shapes) != 1:
            raise InvalidValue(f"pictures to load together must have one size; got {sorted(shapes) or 'no picture'}.")
        return np.stack(pixels)


def draw_prompt(item: Item, rng: np.random.Generator) -> str:
    """Draws one of the item's prompts, in proportion to the weights."""
    weights = np.array([weight for _, weight in item.prompts])
    return item.prompts[rng.choice(len(weights), p=weights / weights.sum())][0]


def example_prompts(items: Sequence[Item], count: int) -> list[str]:
    """Prompts of so many items, evenly chosen: in turns the first, the second, … of each one's likeliest."""
    examples = []
    for i, item in enumerate(items[:: max(1, len(items) // count)][:count]):
        highest = max(weight for _, weight in item.prompts)
        likeliest = [prompt for prompt, weight in item.prompts if weight == highest]
        examples.append(likeliest[i % len(likeliest)])
    return examples


def write_index(folder: Path, items: Iterable[Item]) -> None:
    """Writes `dataset.jsonl` in one step: a reader sees the whole of it or nothing. Write the pictures first."""
    lines = (json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items)
    write_atomically(Path(folder) / INDEX, "".join(lines).encode())


def read_picture(source: Path | bytes, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Reads a picture, or its bytes, upright and laid on white.

    Raises:
      InvalidValue: there is no such file, or it is no picture that can be read.
    """
    try:
        return read_image(source, name, formats=FORMATS, max_pixels=MAX_PIXELS)
    except InvalidValue:
        raise
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        raise InvalidValue(f"no such picture: {name} ({error})") from error


def _parse_item(line: str, place: str) -> Item:
    try:
        raw = json.loads(line)
        prompts = tuple((prompt, weight) for prompt, weight in raw.pop("prompts"))
        texts = [*raw.items(), *(("a prompt", prompt) for prompt, _ in prompts)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidValue(f"{place} is not an item of a data set ({error}).") from error
    for name, text in texts:
        if not isinstance(text, str) or text != text.encode(errors="replace").decode():
            raise InvalidValue(f"{place}: {name} must be a text; got {text!r:.100}.")
    for _, weight in prompts:
        if type(weight) not in (int, float) or not 0 < weight <= sys.float_info.max:
            raise InvalidValue(f"{place}: weights must be numbers, and weights above 0; got {weight!r:.100}.")
    if not prompts:
        raise InvalidValue(f"{place}: an item needs at least one prompt, and weights above 0.")
    try:
        item = Item(prompts=tuple((prompt, float(weight)) for prompt, weight in prompts), **raw)
    except TypeError as error:  # a field is missing, or not one of an item
        raise InvalidValue(f"{place} is not an item of a data set ({error}).") from error
    if item.split not in SPLITS:
        raise InvalidValue(f"{place}: split is {item.split!r}; allowed are {', '.join(SPLITS)}.")
    return item
