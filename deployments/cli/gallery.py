"""Ranked images become files: one PNG each, and a grid of all."""

import math
from collections.abc import Sequence
from pathlib import Path

from deployments.cli.client import DrawnImage
from model_core.pictures.images import encode_png, grid, read_image


def write_gallery(folder: Path, drawn: Sequence[DrawnImage]) -> list[Path]:
    """Writes `1-seed<seed>.png`, the best, and so on, and `grid.png`; returns their paths, the grid last."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(drawn)))
    paths = [folder / f"{rank:0{digits}}-seed{image.seed}.png" for rank, image in enumerate(drawn, start=1)]
    for path, image in zip(paths, drawn, strict=True):
        path.write_bytes(image.png)
    overview = folder / "grid.png"
    pictures = [read_image(image.png) for image in drawn]
    overview.write_bytes(encode_png(grid(pictures, columns=math.ceil(math.sqrt(len(pictures))))))
    return [*paths, overview]
