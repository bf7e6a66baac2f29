"""A sheet of scenes with their captions, to look at: `python -m model_core.shipped.world.sheet out/world.png`.

Draws the sprites first where they are not there yet.
"""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from model_core.errors import InvalidValue
from model_core.shipped.world.scenes import Scene, World
from model_core.shipped.world.sprites import FOLDER, Sprites, build_sprites

COLUMNS = 8
PICTURE = 192  # pixels, side of a scene on the sheet
GAP = 6
LINE, LINES = 13, 3  # height of a line of a caption; how many there are
LETTERS = 34  # of a line


def draw_sheet(scenes: Sequence[Scene]) -> Image.Image:
    """The scenes in rows of eight, each with its caption below."""
    rows = -(-len(scenes) // COLUMNS)
    width, height = PICTURE + GAP, PICTURE + LINE * LINES + GAP
    sheet = Image.new("RGB", (COLUMNS * width + GAP, rows * height + GAP), "#dddddd")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, scene in enumerate(scenes):
        left, top = GAP + number % COLUMNS * width, GAP + number // COLUMNS * height
        picture = Image.fromarray(scene.pixels).resize((PICTURE, PICTURE), Image.Resampling.BICUBIC)
        sheet.paste(picture, (left, top))
        for line, text in enumerate(textwrap.wrap(scene.caption, LETTERS)[:LINES]):
            draw.text((left, top + PICTURE + LINE * line), text, fill="black", font=font)
    return sheet


def open_or_build(folder: Path = FOLDER) -> Sprites:
    """The sprites in a folder, drawn there first if they are missing or out of date."""
    try:
        return Sprites.open(folder)
    except InvalidValue:
        build_sprites(folder)
        return Sprites.open(folder)


def main() -> None:
    """Writes the sheet."""
    parser = argparse.ArgumentParser(description="A sheet of scenes with captions.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--held-out", action="store_true", help="scenes that training never sees")
    chosen = parser.parse_args()
    world = World(sprites=open_or_build(), seed=chosen.seed, held_out=chosen.held_out)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(list(world.scenes(chosen.first, chosen.first + chosen.count))).save(chosen.out)


if __name__ == "__main__":
    main()
