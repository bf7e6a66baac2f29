"""Ranked images become files: one PNG each, and a grid of all, in a folder that has none of another run."""

import contextlib
import itertools
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deployments.cli.client import DrawnImage
from deployments.needs import writing
from model_core.pictures.images import encode_png, grid, read_image

GRID = "grid.png"


def check_folder(folder: Path) -> None:
    """Makes the folder, before minutes are spent on what could not be written.

    Raises:
      DalleServeError: it cannot be made, or written in.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def write_gallery(folder: Path, drawn: Sequence[DrawnImage]) -> list[Path]:
    """Writes `1-seed<seed>.png`, the best, and so on, and `grid.png`; returns their paths, the grid last.

    Where `folder` has pictures of another run, they go into `<folder>-2` beside it, or the next that is free.

    Raises:
      DalleServeError: they cannot be written.
    """
    digits = len(str(len(drawn)))
    pictures = [read_image(image.png) for image in drawn]
    overview = encode_png(grid(pictures, columns=math.ceil(math.sqrt(len(pictures)))))
    with writing(folder):
        free = _claim(folder)
        paths = [free / f"{rank:0{digits}}-seed{image.seed}.png" for rank, image in enumerate(drawn, start=1)]
        for path, image in zip(paths, drawn, strict=True):
            path.write_bytes(image.png)
        (free / GRID).write_bytes(overview)
    return [*paths, free / GRID]


def _claim(folder: Path) -> Path:
    """The first of the folders that has no pictures of a run, with an empty grid in it: two runs never share one."""
    for number in itertools.count(1):
        free = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        free.mkdir(parents=True, exist_ok=True)
        if any(free.glob("[0-9]*-seed*.png")):
            continue
        with contextlib.suppress(FileExistsError):
            (free / GRID).open("x").close()
            return free
    raise AssertionError("unreachable")
