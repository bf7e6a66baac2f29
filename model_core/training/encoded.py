"""A data set as image codes on disk, for training that never sees a pixel: any number of pictures, read where needed.

A folder of shards. Of shard NUMBER there are `codes-NUMBER.npy`, uint16 [rows, N]; `captions-NUMBER.txt`, all captions
one after another as UTF-8, those of a row on lines of their own; `captions-NUMBER.npy`, int64 [rows + 1], where each
row's begin; `digests-NUMBER.npy`, uint64 [rows], equal for equal pictures, of which the first one counts; and
`shard-NUMBER.json`, written last: what was left out and why. `encoded.json` says which codec spelled the pictures.

Files are mapped into memory, so that all processes of a machine share them and a batch reads its rows alone.
`encoding.py` writes it.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jaxtyping import UInt16

from model_core.errors import InvalidValue
from model_core.training.data import Item
from model_core.weights.json_files import read_json

ABOUT = "encoded.json"
TOLD_CAPTIONS = 200_000  # pictures whose captions statistics look at


class EncodedDataset:
    """Shards of codes and captions; `items[i]` describes `codes[i]`."""

    def __init__(self, folder: Path):
        """Opens what is there; a shard that is not finished is not.

        Raises:
          InvalidValue: there is no such data set in the folder, or nothing in it yet.
          CorruptCheckpoint: `encoded.json` cannot be read.
        """
        self.folder = Path(folder)
        if not is_encoded(self.folder):
            raise InvalidValue(f"no encoded data set in {folder}: {ABOUT} is missing. `train data encode` makes one.")
        self.about: dict[str, Any] = read_json(self.folder, ABOUT)
        names = [path.stem.removeprefix("shard-") for path in sorted(self.folder.glob("shard-*.json"))]
        self._shards = [shard for shard in map(self._open, names) if len(shard)]
        if not self._shards:
            raise InvalidValue(f"the encoded data set in {folder} holds no picture yet: run `train data encode` again.")
        self._starts = np.cumsum([0, *map(len, self._shards)]).tolist()
        # Rows, counted over all shards, whose picture is in none before: the same whoever made which shard, and when.
        self._rows = np.sort(np.unique(np.concatenate([shard.digests for shard in self._shards]), return_index=True)[1])

    def _open(self, name: str) -> "Shard":
        return Shard(self.folder, name)

    @property
    def items(self) -> Sequence[Item]:
        return _Items(self)

    @property
    def codes(self) -> "_Codes":
        return _Codes(self)

    def split(self, name: str) -> Sequence[Item]:
        """All items, which are to be trained on; an encoded data set keeps nothing back."""
        return self.items if name == "train" else ()

    def load_pixels(self, items: Sequence[Item]) -> np.ndarray:
        """Raises InvalidValue: there are no pictures."""
        raise InvalidValue(f"{self.folder} holds codes, not pictures: it trains what draws codes, and nothing else.")

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_duplicates(self) -> int:
        return self._starts[-1] - len(self)

    def place(self, index: int) -> tuple["Shard", int]:
        """The shard of a row, and its number there."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = int(self._rows[index])
        number = bisect_right(self._starts, row) - 1
        return self._shards[number], row - self._starts[number]


class Shard:
    """One shard, mapped into memory when it is first looked at."""

    def __init__(self, folder: Path, name: str):
        self._folder, self._name = folder, name
        self.told: dict[str, Any] = read_json(folder, f"shard-{name}.json")

    def __len__(self) -> int:
        return int(self.told["rows"])

    @cached_property
    def codes(self) -> UInt16[np.ndarray, "rows N"]:
        return np.load(self._folder / f"codes-{self._name}.npy", mmap_mode="r")

    @cached_property
    def digests(self) -> np.ndarray:
        return np.load(self._folder / f"digests-{self._name}.npy")

    @cached_property
    def _offsets(self) -> np.ndarray:
        return np.load(self._folder / f"captions-{self._name}.npy", mmap_mode="r")

    @cached_property
    def _text(self) -> np.ndarray:
        return np.memmap(self._folder / f"captions-{self._name}.txt", np.uint8, "r")

    def captions(self, row: int) -> list[str]:
        """What may be said of a row's picture."""
        start, end = (int(offset) for offset in self._offsets[row : row + 2])
        return self._text[start:end].tobytes().decode().splitlines()


class _Codes:
    """Rows of codes, by their numbers."""

    def __init__(self, dataset: EncodedDataset):
        self._dataset = dataset

    def __getitem__(self, places: Sequence[int]) -> UInt16[np.ndarray, "B N"]:
        found = (self._dataset.place(place) for place in places)
        return np.stack([shard.codes[row] for shard, row in found])


class _Items(Sequence[Item]):
    """Items that are read when they are asked for."""

    def __init__(self, dataset: EncodedDataset, numbers: range | None = None):
        self._dataset = dataset
        self._numbers = range(len(dataset)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequence[Item]": ...
    def __getitem__(self, index: int | slice) -> "Item | Sequence[Item]":
        if isinstance(index, slice):
            return _Items(self._dataset, self._numbers[index])
        number = self._numbers[index]
        shard, row = self._dataset.place(number)
        prompts = tuple((caption, 1.0) for caption in shard.captions(row))
        return Item(image="", prompts=prompts, concept=str(number))

    def __iter__(self) -> Iterator[Item]:
        return (self[place] for place in range(len(self)))


def is_encoded(folder: Path) -> bool:
    """Whether a folder holds such a data set."""
    return (Path(folder) / ABOUT).is_file()


def fingerprint(params: Any) -> str:
    """Tells the weights of one codec from another's, whatever file they lie in."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf, np.float32).tobytes())
    return digest.hexdigest()[:16]


def statistics(dataset: EncodedDataset) -> str:
    """A page about a data set, in Markdown: what is in it, what was left out, how its codes and captions spread."""
    shards, grid = dataset._shards, dataset.about["grid"]
    uses = sum((np.bincount(shard.codes.reshape(-1), minlength=grid[2]) for shard in shards), np.zeros(grid[2], int))
    shares = uses[uses > 0] / uses.sum()
    told = ((shard, row) for shard in shards for row in range(len(shard)))
    captions = [caption for shard, row in islice(told, TOLD_CAPTIONS) for caption in shard.captions(row)]
    words = np.array([len(caption.split()) for caption in captions])
    reasons: dict[str, int] = {}
    for path in sorted(dataset.folder.glob("shard-*.json")):
        for _, reason in json.loads(path.read_text(encoding="utf-8"))["left_out"]:
            reasons[reason.partition(":")[0]] = reasons.get(reason.partition(":")[0], 0) + 1
    rows = {
        "pictures": f"{len(dataset)}, in {len(shards)} shards",
        "equal to another": f"{dataset.num_duplicates}",
        "codes of a picture": f"{grid[0]} × {grid[1]} of {grid[2]}",
        "codes in use": f"{len(shares)} ({len(shares) / grid[2]:.1%})",
        "perplexity of codes": f"{np.exp(-shares @ np.log(shares)):.0f}",
        "captions": f"{len(captions)} of the first {min(len(dataset), TOLD_CAPTIONS)}; {len(set(captions))} different",
        "words of a caption": f"{words.min()} to {words.max()}, half of them up to {int(np.median(words))}",
    } | {f"left out: {reason}": str(count) for reason, count in sorted(reasons.items())}
    table = "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    return f"# {dataset.folder.resolve().name}\n\n| | |\n|---|---|\n{table}"
