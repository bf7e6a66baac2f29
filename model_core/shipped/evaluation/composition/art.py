"""The world's things as other artists drew them: what the detector learns from, and the model never saw."""

from collections.abc import Sequence
from pathlib import Path

from model_core.shipped.emoji import WORDS_PACKAGE, WORDS_VERSION
from model_core.shipped.evaluation.judge_art import JUDGE_SETS, find_icons, read_names
from model_core.shipped.packages import CACHE, PackageError, fetch, read_json
from model_core.shipped.world.art import shape_of
from model_core.shipped.world.sprites import Drawing, Sprites, make_sprites
from model_core.shipped.world.vocabulary import Thing, read_things


def other_sprites(things: Sequence[Thing] = (), cache: Path = CACHE) -> Sprites:
    """Sprites of every thing, in as many styles as the judge has sets of art.

    Not every set has every thing: a style is one drawing of each, taken in turn from the sets that have it.

    Raises:
      PackageError: a package cannot be fetched or read, or no set has a thing.
    """
    things = tuple(things) or read_things()
    found = _drawings(things, cache)
    styles = tuple(f"other {number}" for number in range(len(JUDGE_SETS)))
    drawings: dict[tuple[str, str], Drawing] = {}
    for thing in things:
        drawn = found[thing.hexcode]
        if not drawn:
            raise PackageError(f"no set of other art has {thing.name!r} ({thing.hexcode}).")
        for number, style in enumerate(styles):
            drawings[thing.name, style] = drawn[number % len(drawn)]
    return make_sprites(things, drawings, styles)


def _drawings(things: Sequence[Thing], cache: Path) -> dict[str, list[Drawing]]:
    """By code point, the drawings of all sets that have one."""
    names = read_names(fetch(WORDS_PACKAGE, WORDS_VERSION, cache))
    codes = [thing.hexcode for thing in things]
    found: dict[str, list[Drawing]] = {code: [] for code in codes}
    for picture_set in JUDGE_SETS:
        archive = fetch(picture_set.package, picture_set.version, cache)
        icons, chars = read_json(archive, "icons.json"), read_json(archive, "chars.json")
        for code, icon in find_icons(icons, chars, codes, names).items():
            found[code].append((icon["body"], shape_of(icon, icons)))
    return found
