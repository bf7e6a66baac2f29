"""Draws the shipped model's pictures for README and model card, one draw of each prompt with seed 0, unpicked.

python docs/images/draw.py  (or `make pictures`)
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from deployments.local import set_environment
from model_core.pictures.images import grid
from model_core.pipeline import Pipeline
from model_core.shipped.concepts import read_concepts, with_article
from model_core.shipped.scenes import COLORS

KNOWN = 240  # of the list, its first
NEVER_LEARNED = 2  # a thing's place in the list plus this gives a colour that no training data had it on
PALETTE = 255  # colours of a sheet, which keeps the files small
HERE = Path(__file__).parent


def draw(pipeline: Pipeline, prompts: Sequence[str]) -> list[Image.Image]:
    return [Image.fromarray(pipeline.generate(prompt, n=1, seed=0)[0].image) for prompt in prompts]


def save_sheet(file: Path, pictures: Sequence[Image.Image], columns: int, side: int) -> None:
    """Lays the pictures out row by row, `side` pixels each."""
    small = [np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS)) for picture in pictures]
    Image.fromarray(grid(small, columns)).quantize(PALETTE).save(file, optimize=True)
    print(file)


def main() -> None:
    pipeline = Pipeline.from_model("emoji")
    names = [concept.name for concept in read_concepts()[:KNOWN]]
    pictures = draw(pipeline, names)
    save_sheet(HERE / "emoji-240.png", pictures, 24, 64)
    save_sheet(HERE / "readme.png", pictures[:120], 24, 64)
    rows = (names[:12], "flat"), (names[:12], "twemoji"), (names[12:24], "flat"), (names[12:24], "twemoji")
    styled = [f"{name}, {style} style" for row, style in rows for name in row]
    save_sheet(HERE / "styles.png", draw(pipeline, styled), 12, 64)
    colors = list(COLORS)
    on_colors = [
        f"{name} on {with_article(colors[(place + NEVER_LEARNED) % len(colors)])} background"
        for place, name in enumerate(names[:40])
    ]
    save_sheet(HERE / "colors.png", draw(pipeline, on_colors), 10, 128)


if __name__ == "__main__":
    set_environment()
    main()
