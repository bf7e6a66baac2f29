"""Openly licensed sets of pictures: where they come from, how they are drawn alike, and under which licence.

The sets are Iconify collections: Fluent Emoji, Noto Emoji and Twemoji.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from model_core.errors import InvalidValue
from model_core.shipped.packages import PackageError, read_json

MARGIN = 1 / 16  # of the picture's side, around the drawing area: 8 of 128 pixels, one cell of a stride-8 code grid
TILTED_SIZE = 7 / 8  # of its size, so that all of a tilted drawing stays in the picture
SKIN_TONES = ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """A set of pictures.

    Attributes:
      border: width of the empty edge its artists left, as a share of the side.
      tilt: which way its tilted drawings lean: degrees clockwise.
    """

    style: str
    package: str
    version: str
    border: float
    tilt: float = 20.0


TRAINING_SETS = (
    PictureSet(style="flat", package="@iconify-json/fluent-emoji-flat", version="1.2.6", border=1 / 16),
    PictureSet(style="noto", package="@iconify-json/noto", version="1.2.9", border=1 / 32),
    PictureSet(style="twemoji", package="@iconify-json/twemoji", version="1.2.5", border=0.0, tilt=-20.0),
)


def draw_set(
    picture_set: PictureSet, archive: Path, wanted: set[str], size: int, dropped: Counter[str], *, tilted: bool = False
) -> Iterator[tuple[str, Image.Image]]:
    """Draws the wanted pictures as (code point, RGBA); counts in `dropped` all that is left out, by reason."""
    icons = read_json(archive, "icons.json")
    names = read_json(archive, "chars.json")
    for code in names.keys() - wanted:
        dropped[f"{picture_set.style}: {_why_unwanted(code)}"] += 1
    seen = set()
    for code in sorted(wanted):
        icon = icons["icons"].get(names.get(code))
        if icon is None:
            dropped[f"{picture_set.style}: concept not in the set"] += 1
            continue
        picture = draw_icon(icon, icons, size, picture_set.border, picture_set.tilt if tilted else 0.0)
        digest = hashlib.sha256(picture.tobytes()).digest()
        if digest in seen:
            dropped[f"{picture_set.style}: same picture as another concept's"] += 1
            continue
        seen.add(digest)
        yield code, picture


def draw_icon(icon: dict[str, Any], icons: dict[str, Any], size: int, border: float, tilt: float = 0.0) -> Image.Image:
    """Draws one icon of a collection; its size is its own, or the collection's, or 16 by Iconify's rule."""
    shape = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    width, height = shape
    return rasterise(icon["body"], (width, height), size, margin=MARGIN, border=border, tilt=tilt)


def rasterise(
    body: str, shape: tuple[float, float], size: int, *, margin: float, border: float, tilt: float = 0.0
) -> Image.Image:
    """Draws the inside of an SVG, centred on nothing, as an RGBA picture of `size` × `size`.

    Args:
      body: SVG elements, drawn from (0, 0) to `shape`.
      shape: width and height of the drawing, in its own units.
      margin: width of the empty edge in the result, as a share of its side.
      border: width of the edge that the drawing already has, as a share of its longer side. It counts as margin.
      tilt: degrees clockwise that the drawing is turned by, around its middle; what is turned is smaller as well.

    Raises:
      PackageError: the SVG cannot be drawn.
    """
    import resvg_py  # here, because it is wanted for drawing these sets only

    width, height = shape
    view = max(shape) * (1 - 2 * border) / (1 - 2 * margin)
    if tilt:
        view /= TILTED_SIZE
        body = f'<g transform="rotate({tilt} {width / 2} {height / 2})">{body}</g>'
    box = f"{(width - view) / 2} {(height - view) / 2} {view} {view}"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{body}</svg>'
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    except ValueError as error:
        raise PackageError(f"a picture cannot be drawn: {error}") from error
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def sets_of(styles: Sequence[str] | None) -> list[PictureSet]:
    """The training sets of these styles, in the order asked for; None stands for all.

    Raises:
      InvalidValue: there is no such style, or none was named.
    """
    known = {picture_set.style: picture_set for picture_set in TRAINING_SETS}
    wanted = list(known) if styles is None else list(dict.fromkeys(styles))
    unknown = [style for style in wanted if style not in known]
    if unknown or not wanted:
        raise InvalidValue(f"styles are {', '.join(known)}; got {', '.join(unknown) or 'none'}.", "styles")
    return [known[style] for style in wanted]


def _why_unwanted(code: str) -> str:
    parts = code.split("-")
    if any(tone in parts for tone in SKIN_TONES):
        return "skin-tone variant"
    return "joined emoji, not in the list" if "200d" in parts else "not in the list"


def licence_table(rows: Sequence[tuple[str, str, str, str, str]]) -> str:
    """Markdown of (package, version, licence, author, work) rows, with the attribution that each asks for."""
    lines = [
        f"| {package} | {version} | {licence} | {author} | {work} by {author}, licensed under {licence}. |"
        for package, version, licence, author, work in rows
    ]
    head = "| package | version | licence | author | attribution |\n|---|---|---|---|---|\n"
    return head + "\n".join(lines) + "\n"


def licence_row(picture_set: PictureSet, archive: Path) -> tuple[str, str, str, str, str]:
    """A row of `licence_table`, as the package itself states it."""
    info = read_json(archive, "info.json")
    return picture_set.package, picture_set.version, info["license"]["spdx"], info["author"]["name"], info["name"]
