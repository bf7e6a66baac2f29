"""The emoji data set, built from packages that the tests make themselves."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from model_core.errors import InvalidValue
from model_core.shipped import emoji
from model_core.shipped.concepts import read_concepts, with_article
from model_core.shipped.emoji import build_emoji
from model_core.shipped.packages import PackageError
from model_core.shipped.picture_sets import TRAINING_SETS
from model_core.shipped.scenes import COLORS
from model_core.training.data import Dataset
from tests.unit.model_core.shipped.packages_made_here import DOT, fill_cache, picture_package, write_set


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill_cache(tmp_path_factory.mktemp("packages"))


def test_the_data_set_has_every_concept_in_every_style(cache: Path, tmp_path: Path):
    report = build_emoji(tmp_path / "out", size=32, cache=cache, num_concepts=2)
    dataset = Dataset.open(tmp_path / "out")
    assert (report.num_concepts, report.num_items) == (2, 6)
    assert report.splits == {"train": 6}
    for each in TRAINING_SETS:
        for reason in ("skin-tone variant", "joined emoji, not in the list", "not in the list"):
            assert report.dropped[f"{each.style}: {reason}"] == 1
    styles = [each.style for each in TRAINING_SETS]
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
    for each in TRAINING_SETS:
        assert f"| {each.package} | {each.version} | MIT | A. Nobody |" in licences
    assert emoji.WORDS_PACKAGE in licences
    assert (tmp_path / "out/words.txt").read_text() == "avocado\nfood\nkiwi green\nred apple\napple\n"


def test_a_broken_package_leaves_no_data_set(tmp_path: Path):
    cache = fill_cache(tmp_path / "cache")
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


def test_nothing_is_held_out_where_all_is_to_be_learned(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path):
    monkeypatch.setattr(emoji, "VALIDATION_EVERY", 1)
    report = build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=2, validation=False)
    assert report.splits == {"train": 6}


@pytest.mark.parametrize(
    ("setting", "value"),
    [("size", 0), ("num_concepts", 0), ("num_concepts", 100_000), ("backgrounds", 11), ("pairs", -1), ("pairs", 3)],
)
def test_a_setting_out_of_range_is_refused(cache: Path, tmp_path: Path, setting: str, value: int):
    with pytest.raises(InvalidValue, match=rf"{setting} must be .*got {value}"):
        build_emoji(tmp_path / "out", cache=cache, **{setting: value})


def test_what_is_not_learned_is_unseen(cache: Path, tmp_path: Path):
    report = build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=1)
    dataset = Dataset.open(tmp_path / "out")
    assert report.splits == {"train": 3, "unseen": 3}
    assert {item.concept for item in dataset.split("train")} == {"1f951"}
    assert {item.concept for item in dataset.split("unseen")} == {"1f34e"}


def test_a_picture_is_laid_on_as_many_colours_as_asked_for(cache: Path, tmp_path: Path):
    build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=1, styles=["flat", "noto"], backgrounds=4)
    dataset = Dataset.open(tmp_path / "out")
    assert Counter(item.style for item in dataset.split("train")) == {"flat": 5, "noto": 5}
    train = [item for item in dataset.split("train") if item.style == "flat"]
    corners = dataset.load_pixels(train)[:, 0, 0].tolist()
    palette = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in COLORS.values()]
    named = [item.prompts[0][0].split(" on ")[-1].split()[1] for item in train[1:]]
    assert corners == [[255, 255, 255], *(palette[list(COLORS).index(name)] for name in named)]
    assert len(set(named)) == 4


@pytest.fixture
def lopsided(tmp_path: Path) -> Path:
    """Packages in which the flat avocado alone is not its own mirror image."""
    cache = fill_cache(tmp_path / "packages")
    bodies = {"square": '<rect x="4" y="8" width="8" height="16" fill="#ff0000"/>', "dot": DOT}
    write_set(cache, TRAINING_SETS[0], picture_package(bodies, {"1f951": "square", "1f34e": "dot"}))
    return cache


def test_a_picture_that_is_not_symmetric_is_there_both_ways_round(lopsided: Path, tmp_path: Path):
    build_emoji(tmp_path / "out", size=32, cache=lopsided, num_concepts=2, styles=["flat"], mirrored=True)
    dataset = Dataset.open(tmp_path / "out")
    avocado, mirrored, apple = dataset.items
    assert (avocado.concept, avocado.prompts) == (mirrored.concept, mirrored.prompts)
    assert apple.concept != avocado.concept
    one, other, _ = dataset.load_pixels(dataset.items)
    assert (one == other[:, ::-1]).all()
    assert (one != other).any()


def test_writing_is_not_mirrored(monkeypatch: pytest.MonkeyPatch, lopsided: Path, tmp_path: Path):
    signs = [replace(concept, has_signs=True) for concept in read_concepts()[:2]]
    monkeypatch.setattr(emoji, "read_concepts", lambda: signs)
    build_emoji(tmp_path / "out", size=32, cache=lopsided, num_concepts=2, styles=["flat"], mirrored=True)
    assert len(Dataset.open(tmp_path / "out").items) == 2


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_picture_that_is_not_there_mirrored_is_there_tilted(lopsided: Path, tmp_path: Path, mirrored: bool):
    options = {"styles": ["flat"], "backgrounds": 1, "mirrored": mirrored, "tilted": True}
    build_emoji(tmp_path / "out", size=32, cache=lopsided, num_concepts=2, **options)
    dataset = Dataset.open(tmp_path / "out")
    ways = [Path(item.image).stem.split("-")[-1] for item in dataset.items[2::4]]
    assert ways == ["mirrored" if mirrored else "tilted", "tilted"]  # the second is its own mirror image
    for white, colored, second, second_colored in (dataset.items[:4], dataset.items[4:]):
        assert (white.concept, white.prompts) == (second.concept, second.prompts)
        assert colored.prompts == second_colored.prompts
        one, other = dataset.load_pixels([white, second])
        assert (one != other).any()


def test_what_is_unseen_is_upright_only(cache: Path, tmp_path: Path):
    build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=1, styles=["flat"], tilted=True)
    assert len(Dataset.open(tmp_path / "out").split("unseen")) == 1


def test_the_halves_of_a_pair_are_mirrored_by_chance(lopsided: Path, tmp_path: Path):
    found = []
    for mirrored in (False, True):
        out = tmp_path / str(mirrored)
        build_emoji(out, size=32, cache=lopsided, num_concepts=2, styles=["flat"], pairs=2, mirrored=mirrored)
        dataset = Dataset.open(out)
        found.append(dataset.load_pixels([item for item in dataset.items if "+" in item.concept]))
    plain, mirrored = found
    assert plain.shape == mirrored.shape == (2, 32, 32, 3)
    assert (plain != mirrored).any()


def test_pairs_are_of_different_things_and_never_twice(cache: Path, tmp_path: Path):
    build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=2, styles=["flat"], pairs=2)
    pairs = [item for item in Dataset.open(tmp_path / "out").items if "+" in item.concept]
    assert {item.concept for item in pairs} == {"1f951+1f34e", "1f34e+1f951"}


def test_a_pair_is_drawn_on_white_and_on_one_colour(cache: Path, tmp_path: Path):
    build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=2, styles=["flat"], pairs=1, backgrounds=3)
    dataset = Dataset.open(tmp_path / "out")
    white, colored = (item for item in dataset.items if "+" in item.concept)
    color = colored.prompts[0][0].split(" on ")[-1].split()[1]
    corners = dataset.load_pixels([white, colored])[:, 0, 0].tolist()
    assert corners == [[255] * 3, [int(COLORS[color][i : i + 2], 16) for i in (1, 3, 5)]]
    assert colored.prompts[0][0] == f"{white.prompts[0][0]} on {with_article(color)} background"


def test_a_tag_that_is_its_own_becomes_a_prompt(cache: Path, tmp_path: Path):
    build_emoji(tmp_path / "out", size=16, cache=cache, num_concepts=2, styles=["flat"])
    avocado, _ = Dataset.open(tmp_path / "out").items
    words = {prompt for prompt, _ in avocado.prompts}
    assert "kiwi green" in words
    assert "food" not in words  # an apple is food too
