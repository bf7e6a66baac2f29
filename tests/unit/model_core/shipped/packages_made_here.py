"""Packages of pictures and words that the tests make themselves: two tiny pictures, no network."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from model_core.shipped.emoji import WORDS_PACKAGE, WORDS_VERSION
from model_core.shipped.picture_sets import TRAINING_SETS, PictureSet

SQUARE = '<rect x="8" y="8" width="16" height="16" fill="#ff0000"/>'
DOT = '<circle cx="16" cy="16" r="8" fill="#0000ff"/>'


def write_package(path: Path, files: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def picture_package(bodies: dict[str, str], chars: dict[str, str]) -> dict[str, Any]:
    icons = {name: {"body": body} for name, body in bodies.items()}
    info = {"name": "Made Up", "author": {"name": "A. Nobody"}, "license": {"spdx": "MIT"}}
    return {"icons.json": {"width": 32, "height": 32, "icons": icons}, "chars.json": chars, "info.json": info}


def write_set(cache: Path, picture_set: PictureSet, package: dict[str, Any]) -> Path:
    name = picture_set.package.removeprefix("@").replace("/", "-")
    return write_package(cache / f"{name}-{picture_set.version}.tgz", package)


def fill_cache(cache: Path) -> Path:
    """Writes all packages: each training set draws an avocado (a square) and a red apple (a dot)."""
    chars = {"1f951": "square", "1f34e": "dot", "1f44b-1f3fb": "wave-light", "1f468-200d-1f33e": "farmer", "2a": "star"}
    for picture_set in TRAINING_SETS:
        write_set(cache, picture_set, picture_package({"square": SQUARE, "dot": DOT}, chars))
    words = [
        {"label": "Avocado", "hexcode": "1F951", "tags": ["food", "kiwi-green"]},
        {"label": "red apple", "hexcode": "1F34E", "tags": ["food", "apple"]},
        {"label": "food", "hexcode": "1F37D"},
    ]
    about = {"license": "MIT", "author": "A. Nobody"}
    short_names = {
        f"en/shortcodes/{source}.json": {} for source in ("cldr", "emojibase", "iamcal", "joypixels", "github")
    }
    write_package(
        cache / f"{WORDS_PACKAGE}-{WORDS_VERSION}.tgz", {"en/data.json": words, "package.json": about, **short_names}
    )
    return cache
