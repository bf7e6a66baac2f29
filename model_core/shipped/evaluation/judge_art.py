"""The judge's pictures: art sets that no trained network has seen.

Most of these sets name their pictures with words alone, each in its own spelling: a name is matched without spaces and
signs against the label, then against the short names of the word package. Two of the sets are under CC-BY-SA: they are
fetched and looked at where the judge is trained, and neither they nor the judge are part of the project.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from model_core.shipped.emoji import WORDS_PACKAGE, WORDS_VERSION
from model_core.shipped.packages import CACHE, fetch, read_json
from model_core.shipped.picture_sets import TRAINING_SETS, PictureSet, draw_icon, licence_row, licence_table
from model_core.shipped.scenes import on_background

SIZE = 64
JUDGE_SETS = (
    PictureSet(style="openmoji", package="@iconify-json/openmoji", version="1.2.29", border=0.0),
    PictureSet(style="emojione", package="@iconify-json/emojione", version="1.2.3", border=0.0),
    PictureSet(style="emojione-v1", package="@iconify-json/emojione-v1", version="1.2.3", border=0.0),
    PictureSet(style="noto-v1", package="@iconify-json/noto-v1", version="1.2.5", border=0.0),
    PictureSet(style="fxemoji", package="@iconify-json/fxemoji", version="1.2.2", border=0.0),
    PictureSet(style="streamline", package="@iconify-json/streamline-emojis", version="1.2.4", border=0.0),
)
SHORT_NAMES = ("cldr", "emojibase", "iamcal", "joypixels", "github")  # who is heard first where two claim a name

Art = dict[str, UInt8[np.ndarray, "64 64 3"]]  # code point -> picture


def draw_art(concepts: Sequence[str], cache: Path = CACHE) -> dict[str, Art]:
    """Every judge's set's pictures of `concepts`, by style; not every set has every one.

    Raises:
      PackageError: a package cannot be fetched or read.
    """
    names = read_names(fetch(WORDS_PACKAGE, WORDS_VERSION, cache))
    return {each.style: _draw_set(each, concepts, names, cache) for each in JUDGE_SETS}


def draw_real(concepts: Sequence[str], cache: Path = CACHE, *, tilted: bool = False) -> dict[str, Art]:
    """The same of the sets that models are trained on: real pictures, to measure the judge by."""
    return {each.style: _draw_set(each, concepts, {}, cache, tilted) for each in TRAINING_SETS}


def art_licences(cache: Path = CACHE) -> str:
    """A table of the judge's sets and their licences, in Markdown."""
    return licence_table([licence_row(each, fetch(each.package, each.version, cache)) for each in JUDGE_SETS])


def read_names(words: Path) -> dict[str, list[str]]:
    """Code point -> squashed names, likeliest first; no name stands for two code points."""
    names: dict[str, list[str]] = {}
    for entry in read_json(words, "en/data.json"):
        names.setdefault(_bare(entry["hexcode"]), []).append(_squash(entry["label"]))
    claimed = {name for found in names.values() for name in found}
    for source in SHORT_NAMES:
        for code, given in read_json(words, f"en/shortcodes/{source}.json").items():
            for name in map(_squash, [given] if isinstance(given, str) else given):
                if name not in claimed:
                    claimed.add(name)
                    names.setdefault(_bare(code), []).append(name)
    return names


def _draw_set(
    picture_set: PictureSet, concepts: Sequence[str], names: dict[str, list[str]], cache: Path, tilted: bool = False
) -> Art:
    archive = fetch(picture_set.package, picture_set.version, cache)
    icons, chars = read_json(archive, "icons.json"), read_json(archive, "chars.json")
    found = find_icons(icons, chars, concepts, names)
    tilt = picture_set.tilt if tilted else 0.0
    drawn = {concept: draw_icon(icon, icons, SIZE, picture_set.border, tilt) for concept, icon in found.items()}
    return {concept: np.asarray(on_background(picture)) for concept, picture in drawn.items()}


def find_icons(
    icons: Any, chars: dict[str, str], concepts: Sequence[str], names: dict[str, list[str]]
) -> dict[str, Any]:
    """Concept -> icon, by code point where the set knows them, else by name."""
    of_name: dict[str, str] = {}
    for name in icons["icons"]:
        of_name.setdefault(_squash(name), name)
    found = {}
    for concept in concepts:
        by_name = (of_name[name] for name in names.get(concept, ()) if name in of_name)
        name = chars.get(concept) if chars else next(by_name, None)
        if name in icons["icons"]:
            found[concept] = icons["icons"][name]
    return found


def _squash(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("&", "and"))


def _bare(code: str) -> str:
    return code.lower().replace("-fe0f", "")
