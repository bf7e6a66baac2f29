"""Every drawing that scenes are made of, rasterised once into a folder and mapped into memory from there.

The folder holds `sprites.npy` (all of them, as bytes) and `sprites.json` (which is which). Knows nothing of scenes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from model_core.errors import InvalidValue
from model_core.shipped.packages import CACHE, fetch, read_json
from model_core.shipped.picture_sets import licence_row, licence_table, sets_of
from model_core.shipped.world import art, color
from model_core.shipped.world.color import parse_hex, to_lab
from model_core.shipped.world.description import WHITE
from model_core.shipped.world.grounds import flat_color
from model_core.shipped.world.vocabulary import COLOR_NAMES, STYLES, THINGS, Thing, read_things

FOLDER = Path("data") / "world"
FLAT_GROUNDS = (WHITE, *COLOR_NAMES)
DIFFERENT = 0.14  # distance in Oklab from which a colour is told from the ground
SEEN = 0.35  # share of a drawing that has to be told from the ground

Drawing = tuple[str, tuple[float, float]]  # inside of an SVG; its width and height in its own units


@dataclass(frozen=True, slots=True, kw_only=True)
class Sprite:
    """One drawing of a thing.

    Attributes:
      name: what it shows.
      color: the named colour that it was turned to; empty for its own.
      style: who drew it.
      width, height: in pixels; the longer is 128.
      lost_on: the grounds of one colour on which it can hardly be seen.
    """

    name: str
    color: str
    style: str
    width: int
    height: int
    lost_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sprites:
    """The drawings of the world.

    Attributes:
      things: all that there are drawings of, in every style.
      pixels: RGBA bytes, each drawing in the upper left corner.
      index: (name, style, colour) → which one, and its place in `pixels`.
    """

    things: tuple[Thing, ...]
    pixels: UInt8[np.ndarray, "S side side 4"]
    index: Mapping[tuple[str, str, str], tuple[Sprite, int]]

    @classmethod
    def open(cls, folder: Path = FOLDER) -> "Sprites":
        """Opens what `build_sprites` wrote.

        Raises:
          InvalidValue: there is nothing, or it was made from another list of things or by other code.
        """
        about = Path(folder) / "sprites.json"
        if not about.is_file():
            raise InvalidValue(f"no sprites in {folder}: run `dalle-serve train data world-sprites` first.")
        raw = json.loads(about.read_text(encoding="utf-8"))
        if raw["made_from"] != fingerprint():
            raise InvalidValue(f"the sprites in {folder} are out of date: run `dalle-serve train data world-sprites`.")
        pixels = np.load(Path(folder) / "sprites.npy", mmap_mode="r")
        made = [Sprite(**each | {"lost_on": tuple(each["lost_on"])}) for each in raw["sprites"]]
        return cls(read_things(), pixels, _index(made))

    @property
    def styles(self) -> tuple[str, ...]:
        """Who drew them; each has every thing."""
        return tuple(dict.fromkeys(style for _, style, _ in self.index))

    def draw(self, name: str, style: str, color: str = "") -> Image.Image:
        """One drawing, RGBA, cut to what is visible."""
        sprite, place = self.index[name, style, color]
        return Image.fromarray(np.array(self.pixels[place, : sprite.height, : sprite.width]))

    def is_seen(self, name: str, style: str, color: str, ground: str) -> bool:
        """Whether enough of a drawing differs from a ground; places are varied enough for everything."""
        return ground not in self.index[name, style, color][0].lost_on


def make_sprites(
    things: Iterable[Thing], drawings: Mapping[tuple[str, str], Drawing], styles: Sequence[str] = STYLES
) -> Sprites:
    """Draws every thing in every style, in its own colours and, where it may have them, in all named ones.

    Args:
      drawings: by the thing's name and the style.
    """
    things = tuple(things)
    sprites, pictures = [], []
    for thing in things:
        for style in styles:
            body, shape = drawings[thing.name, style]
            for name in ("", *COLOR_NAMES) if thing.can_be_colored else ("",):
                turned = art.recolor(body, shape, name)[0] if name else body
                picture = art.draw_sprite(turned, shape)
                width, height = picture.size
                padded = Image.new("RGBA", (art.SPRITE, art.SPRITE))
                padded.paste(picture, (0, 0))
                sprites.append(
                    Sprite(
                        name=thing.name, color=name, style=style, width=width, height=height, lost_on=_lost_on(picture)
                    )
                )
                pictures.append(np.asarray(padded))
    return Sprites(things, np.stack(pictures), _index(sprites))


def build_sprites(folder: Path = FOLDER, cache: Path = CACHE) -> int:
    """Fetches the picture sets, draws all sprites and writes them with their licences; gives their number.

    Raises:
      PackageError: a package cannot be fetched or read, or lacks a drawing.
    """
    things, drawings, rows = read_things(), {}, []
    for picture_set in sets_of(STYLES):
        archive = fetch(picture_set.package, picture_set.version, cache)
        icons, names = read_json(archive, "icons.json"), read_json(archive, "chars.json")
        rows.append(licence_row(picture_set, archive))
        for thing in things:
            icon = icons["icons"][names[thing.hexcode]]
            drawings[thing.name, picture_set.style] = icon["body"], art.shape_of(icon, icons)
    made = make_sprites(things, drawings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sprites.json").unlink(missing_ok=True)  # a stopped build leaves nothing that looks whole
    np.save(folder / "sprites.npy", made.pixels)
    changes = "Changes: main fills turned to other colours, rasterised, resized, turned, mirrored and arranged.\n"
    (folder / "licences.md").write_text(f"# Licences of the drawings\n\n{licence_table(rows)}\n{changes}", "utf-8")
    about = {"made_from": fingerprint(), "sprites": [asdict(sprite) for sprite, _ in made.index.values()]}
    (folder / "sprites.json").write_text(json.dumps(about), encoding="utf-8")
    return len(made.index)


def fingerprint() -> str:
    """A digest of all that decides how sprites look."""
    sources = [THINGS, Path(__file__), *(Path(str(module.__file__)) for module in (art, color))]
    content = b"".join(path.read_bytes() for path in sources)
    versions = " ".join(f"{each.package}@{each.version}" for each in sets_of(STYLES))
    return hashlib.sha256(content + versions.encode()).hexdigest()[:16]


def _index(sprites: Iterable[Sprite]) -> dict[tuple[str, str, str], tuple[Sprite, int]]:
    return {(each.name, each.style, each.color): (each, place) for place, each in enumerate(sprites)}


def _lost_on(picture: Image.Image) -> tuple[str, ...]:
    rgba = np.asarray(picture.reduce(4), np.float64)
    labs = to_lab(rgba[rgba[..., 3] > 128][:, :3] / 255)
    grounds = {name: to_lab(parse_hex(flat_color(name))) for name in FLAT_GROUNDS}
    shares = {name: (np.linalg.norm(labs - lab, axis=-1) > DIFFERENT).mean() for name, lab in grounds.items()}
    return tuple(name for name, share in shares.items() if share < SEEN)
