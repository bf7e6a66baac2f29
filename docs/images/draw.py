"""Draws the shipped model's pictures for README, model card and the page's first look, with seed 0, unpicked.

python docs/images/draw.py  (or `make pictures`)
"""

import json
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
ASSETS = HERE.parents[1] / "deployments" / "web" / "assets"
WALL = (
    "a unicorn on a purple background",
    "an avocado",
    "a rocket on a blue background",
    "a cat face, twemoji style",
    "a birthday cake on a pink background",
    "a sailboat",
    "a fox on a green background",
    "a happy face, twemoji style",
    "a palm tree on an orange background",
)
WALL_SIDE = 224  # as wide as a tile of the page is at most


def draw(pipeline: Pipeline, prompts: Sequence[str]) -> list[Image.Image]:
    return [Image.fromarray(pipeline.generate(prompt, n=1, seed=0)[0].image) for prompt in prompts]


def save_sheet(file: Path, pictures: Sequence[Image.Image], columns: int, side: int) -> None:
    """Lays the pictures out row by row, `side` pixels each."""
    small = [np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS)) for picture in pictures]
    Image.fromarray(grid(small, columns)).quantize(PALETTE).save(file, optimize=True)
    print(file)


def save_wall(pipeline: Pipeline) -> None:
    """What the page shows before anything is drawn: one WebP of three by three, and the prompts that drew it."""
    pictures = [picture.resize((WALL_SIDE, WALL_SIDE), Image.Resampling.LANCZOS) for picture in draw(pipeline, WALL)]
    sheet = Image.new("RGB", (3 * WALL_SIDE, 3 * WALL_SIDE))
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place % 3 * WALL_SIDE, place // 3 * WALL_SIDE))
    sheet.save(ASSETS / "wall.webp", quality=80, method=6)
    wall = {"model": "emoji", "seed": 0, "prompts": WALL}
    (ASSETS / "wall.json").write_text(json.dumps(wall, indent=2) + "\n")
    print(ASSETS / "wall.webp")


def main() -> None:
    pipeline = Pipeline.from_model("emoji")
    save_wall(pipeline)
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
