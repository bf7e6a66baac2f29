"""The emoji data set, built from packages that the tests make themselves: two tiny pictures, no network."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.errors import InvalidValue
from model_core.training import emoji
from model_core.training.data import Dataset
from model_core.training.emoji import EMOJI_SETS, Concept, build_emoji, draw_set, prompts_of, rasterise, read_concepts
from model_core.training.packages import PackageError

SQUARE = '<rect x="8" y="8" width="16" height="16" fill="#ff0000"/>'
DOT = '<circle cx="16" cy="16" r="8" fill="#0000ff"/>'


def pixels_of(png: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(png))
    assert picture.mode == "RGB"
    return np.asarray(picture)


def write_package(path: Path, files: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def picture_package(bodies: dict[str, str], chars: dict[str, str]) -> dict[str, object]:
    icons = {name: {"body": body} for name, body in bodies.items()}
    info = {"name": "Made Up", "author": {"name": "A. Nobody"}, "license": {"spdx": "MIT"}}
    return {"icons.json": {"width": 32, "height": 32, "icons": icons}, "chars.json": chars, "info.json": info}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that holds all packages: each style draws an avocado (a square) and a red apple (a dot)."""
    chars = {"1f951": "square", "1f34e": "dot", "1f44b-1f3fb": "wave-light", "1f468-200d-1f33e": "farmer", "2a": "star"}
    package = picture_package({"square": SQUARE, "dot": DOT}, chars)
    for emoji_set in EMOJI_SETS:
        name = emoji_set.package.removeprefix("@").replace("/", "-")
        write_package(tmp_path / "cache" / f"{name}-{emoji_set.version}.tgz", package)
    words = {
        "en/data.json": [{"label": "Avocado", "tags": ["food", "kiwi-green"]}, {"label": "food"}],
        "package.json": {"license": "MIT", "author": "A. Nobody"},
    }
    write_package(tmp_path / "cache" / f"{emoji.WORDS_PACKAGE}-{emoji.WORDS_VERSION}.tgz", words)
    return tmp_path / "cache"


@pytest.mark.parametrize(("side", "border"), [(36, 0.0), (128, 1 / 32), (32, 1 / 16)])
def test_every_set_gets_the_same_margin(side: int, border: float):
    inner = side * (1 - 2 * border)
    body = f'<rect x="{side * border}" y="{side * border}" width="{inner}" height="{inner}" fill="#00ff00"/>'
    pixels = pixels_of(rasterise(body, (side, side), 64, margin=1 / 16, border=border))
    assert pixels.shape == (64, 64, 3)
    assert (pixels[4:60, 4:60] == [0, 255, 0]).all()
    coverage = 1 - pixels[..., 0] / 255
    coverage[4:60, 4:60] = 0
    assert coverage.max() < 0.5  # the next pixel may be touched: edges fall between two
    coverage[3:61, 3:61] = 0
    assert coverage.max() == 0


def test_a_drawing_that_is_not_square_is_centred():
    body = '<rect width="32" height="16" fill="#000000"/>'
    is_dark = pixels_of(rasterise(body, (32, 16), 32, margin=0, border=0))[..., 0] == 0
    assert np.flatnonzero(is_dark.any(1)).tolist() == list(range(8, 24))
    assert is_dark[8:24].all()


def test_what_is_transparent_becomes_white():
    body = '<rect width="32" height="32" fill="#000000" opacity="0.5"/>'
    pixels = pixels_of(rasterise(body, (32, 32), 16, margin=0, border=0))
    assert np.abs(pixels.astype(int) - 127).max() <= 1


def test_a_picture_that_is_no_svg_is_refused():
    with pytest.raises(PackageError, match="cannot be drawn"):
        rasterise("<rect", (32, 32), 16, margin=0, border=0)


def test_everything_left_out_is_counted(cache: Path):
    bodies = {"square": SQUARE, "twin": SQUARE, "dot": DOT}
    chars = {"a1": "square", "a2": "twin", "b1": "dot", "c1-1f3ff": "dot", "d1-200d-d2": "dot"}
    archive = write_package(cache / "set.tgz", picture_package(bodies, chars))
    dropped = Counter()
    drawn = dict(draw_set(EMOJI_SETS[0], archive, {"a1", "a2", "e1"}, 16, dropped))
    assert drawn.keys() == {"a1"}
    assert dropped == {
        "flat: same picture as another concept's": 1,
        "flat: concept not in the set": 1,
        "flat: not in the list": 1,
        "flat: skin-tone variant": 1,
        "flat: joined emoji, not in the list": 1,
    }


def test_the_data_set_has_every_concept_in_every_style(cache: Path, tmp_path: Path):
    report = build_emoji(tmp_path / "out", size=32, cache=cache, num_concepts=2)
    dataset = Dataset.open(tmp_path / "out")
    assert (report.num_concepts, report.num_items) == (2, 6)
    assert sum(report.dropped.values()) == 9  # in each set: a skin tone, a joined emoji, one not in the list
    styles = [emoji_set.style for emoji_set in EMOJI_SETS]
    assert [(item.concept, item.style) for item in dataset.items] == [
        (concept, style) for concept in ("1f951", "1f34e") for style in styles
    ]
    pixels = dataset.load_pixels(dataset.items)
    assert pixels.shape == (6, 32, 32, 3)
    assert (pixels[:, 0, 0] == 255).all()
    assert (pixels[:3, 16, 16] == [255, 0, 0]).all()
    assert (pixels[3:, 16, 16] == [0, 0, 255]).all()


def test_a_data_set_of_one_style_holds_every_concept_and_keeps_none_back(
    monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path
):
    monkeypatch.setattr(emoji, "VALIDATION_EVERY", 1)
    build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=2, styles=["noto"])
    items = Dataset.open(tmp_path / "out").items
    assert [(item.concept, item.style, item.split) for item in items] == [
        ("1f951", "noto", "train"),
        ("1f34e", "noto", "train"),
    ]


def test_an_unknown_style_is_refused_by_name(cache: Path, tmp_path: Path):
    with pytest.raises(InvalidValue, match=r"styles are flat, noto, twemoji; got cubist"):
        build_emoji(tmp_path / "out", cache=cache, styles=["flat", "cubist"])


def test_licences_and_words_stand_beside_the_data_set(cache: Path, tmp_path: Path):
    build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=1)
    licences = (tmp_path / "out/licences.md").read_text()
    for emoji_set in EMOJI_SETS:
        assert f"| {emoji_set.package} | {emoji_set.version} | MIT | A. Nobody |" in licences
    assert emoji.WORDS_PACKAGE in licences
    assert (tmp_path / "out/words.txt").read_text() == "avocado\nfood\nkiwi green\n"


def test_a_broken_package_leaves_no_data_set(cache: Path, tmp_path: Path):
    archive = next(cache.glob("*twemoji*"))
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(PackageError, match=r"delete the archive"):
        build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=1)
    with pytest.raises(InvalidValue, match="Build one first"):
        Dataset.open(tmp_path / "out")


def test_held_out_pictures_leave_two_styles_of_their_concept_to_learn_from(
    monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path
):
    monkeypatch.setattr(emoji, "VALIDATION_EVERY", 1)
    build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=2)
    dataset = Dataset.open(tmp_path / "out")
    assert Counter(item.concept for item in dataset.split("train")) == {"1f951": 2, "1f34e": 2}
    assert len({item.style for item in dataset.split("validation")}) == 2


@pytest.mark.parametrize(("setting", "value"), [("size", 0), ("num_concepts", 0), ("num_concepts", 100_000)])
def test_a_setting_out_of_range_is_refused(cache: Path, tmp_path: Path, setting: str, value: int):
    with pytest.raises(InvalidValue, match=rf"{setting} must be .*got {value}"):
        build_emoji(tmp_path / "out", cache=cache, **{setting: value})


def test_half_of_the_prompts_name_the_style():
    concept = Concept(hexcode="1f697", name="red car", synonyms=("car", "automobile"))
    prompts = dict(prompts_of(concept, "noto"))
    assert sum(prompts.values()) == pytest.approx(1)
    assert sum(weight for prompt, weight in prompts.items() if prompt.endswith(", noto style")) == pytest.approx(0.5)
    assert {"red car", "a red car", "a picture of a red car", "car", "automobile"} <= prompts.keys()


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("avocado", "an avocado"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("hourglass", "an hourglass"),
        ("octopus", "an octopus"),
        ("french fries", "french fries"),
        ("popcorn", "popcorn"),
        ("face with heart eyes", "a face with heart eyes"),
    ],
)
def test_a_name_takes_its_article(name: str, phrase: str):
    prompts = prompts_of(Concept(hexcode="0", name=name, synonyms=()), "flat")
    assert f"a picture of {phrase}" in dict(prompts)


def test_the_list_of_concepts_is_in_order():
    concepts = read_concepts()
    names = [concept.name for concept in concepts]
    assert len(names) >= 240
    assert {"avocado", "red apple", "green apple", "octopus", "rocket", "pizza", "cat", "dragon"} <= set(names[:240])
    for concept in concepts:
        for text in (concept.name, *concept.synonyms):
            assert text == " ".join(text.lower().replace("-", " ").split()), text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1f951\tavocado\nhello", "line 2: expected hexcode"),
        ("1f951\tavocado\n1f34e\tapple\tavocado", "'avocado' is already in line 1"),
        ("1f951\tavocado\n1f951\tapple", "'1f951' is already in line 1"),
    ],
)
def test_a_list_with_a_mistake_is_refused(tmp_path: Path, lines: str, message: str):
    (tmp_path / "concepts.txt").write_text(lines)
    with pytest.raises(InvalidValue, match=message):
        read_concepts(tmp_path / "concepts.txt")
