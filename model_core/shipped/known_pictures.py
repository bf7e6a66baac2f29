"""A picture of each thing that a model knows, drawn by itself: `python -m model_core.shipped.known_pictures FOLDER`.

Writes `known.webp` into the model's folder, which the page shows beside the names.
"""

import argparse
from pathlib import Path

from PIL import Image

from model_core.bundles import KNOWN_COLUMNS, KNOWN_PICTURES
from model_core.errors import InvalidValue
from model_core.pipeline import Pipeline

SIDE = 48  # pixels of a picture
QUALITY = 80


def known_pictures(pipeline: Pipeline, best_of: int = 1) -> Image.Image:
    """The sheet: each thing by its name, first seed 0, the best of so many.

    Raises:
      InvalidValue: the model's card names no things.
    """
    things = pipeline.bundle.known_things
    if not things:
        raise InvalidValue(f"{pipeline.bundle.id} names no things that it knows: there is nothing to draw.")
    sheet = Image.new("RGB", (SIDE * KNOWN_COLUMNS, SIDE * -(-len(things) // KNOWN_COLUMNS)), "white")
    for place, thing in enumerate(things):
        (drawn,) = pipeline.generate(thing, best_of=best_of, seed=0)
        picture = Image.fromarray(drawn.image).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(picture, (SIDE * (place % KNOWN_COLUMNS), SIDE * (place // KNOWN_COLUMNS)))
    return sheet


def main() -> None:
    """Draws the sheet of one model."""
    parser = argparse.ArgumentParser(description="Draw what a model knows.")
    parser.add_argument("folder", type=Path, help="the model's folder; the sheet is written into it")
    parser.add_argument("--best-of", type=int, default=4)
    chosen = parser.parse_args()
    sheet = known_pictures(Pipeline.from_model(chosen.folder, batch_size=min(16, chosen.best_of)), chosen.best_of)
    sheet.save(chosen.folder / KNOWN_PICTURES, quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
