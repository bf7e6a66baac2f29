"""Drawings in a folder and in memory."""

from pathlib import Path

import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.shipped.picture_sets import sets_of
from model_core.shipped.scenes import COLORS
from model_core.shipped.world import sprites as sprites_module
from model_core.shipped.world.color import nearest_name, to_lab
from model_core.shipped.world.sprites import Sprites, build_sprites
from model_core.shipped.world.vocabulary import COLOR_NAMES, STYLES, read_things
from tests.unit.model_core.shipped.packages_made_here import picture_package, write_set
from tests.unit.model_core.shipped.world.things_made_here import BODIES, sprites, things


def test_every_thing_is_there_in_both_styles_and_in_ten_colours_if_it_may_be():
    colored = sum(thing.can_be_colored for thing in things())
    assert len(sprites().index) == len(STYLES) * (len(things()) + len(COLORS) * colored)


@pytest.mark.parametrize("color", COLOR_NAMES)
def test_every_coloured_thing_has_the_named_colour(color: str):
    for thing in (thing for thing in things() if thing.can_be_colored):
        for style in STYLES:
            rgba = np.asarray(sprites().draw(thing.name, style, color), np.float64)
            labs = to_lab(rgba[rgba[..., 3] > 250][:, :3] / 255)
            names = [nearest_name(lab) for lab in labs[:: max(1, len(labs) // 50)]]
            assert names.count(color) >= 0.8 * len(names)


def test_drawings_are_cut_to_what_is_visible():
    assert sprites().draw("dog", "flat").size == (128, 85)


def test_what_has_the_colour_of_the_ground_is_not_seen():
    assert not sprites().is_seen("cat", "flat", "blue", "blue")
    assert sprites().is_seen("cat", "flat", "blue", "white")
    assert sprites().is_seen("cat", "flat", "blue", "water")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder built from packages with two things."""
    listed = tmp_path / "things.txt"
    listed.write_text("1f408\tcat\n1f355\tpizza\t\town\n", encoding="utf-8")
    monkeypatch.setattr(sprites_module, "THINGS", listed)
    monkeypatch.setattr(sprites_module, "read_things", lambda: read_things(listed))
    package = picture_package({"a": BODIES["cat"], "b": BODIES["pizza"]}, {"1f408": "a", "1f355": "b"})
    for picture_set in sets_of(STYLES):
        write_set(tmp_path / "cache", picture_set, package)
    assert build_sprites(tmp_path / "sprites", tmp_path / "cache") == 2 * (11 + 1)
    return tmp_path / "sprites"


def test_what_is_built_can_be_opened_and_names_its_licences(made: Path):
    opened = Sprites.open(made)
    assert [thing.name for thing in opened.things] == ["cat", "pizza"]
    drawn = np.asarray(opened.draw("cat", "twemoji", "red"))
    np.testing.assert_array_equal(drawn, np.asarray(sprites().draw("cat", "twemoji", "red")))
    assert "MIT" in (made / "licences.md").read_text()


def test_sprites_of_another_list_are_refused(made: Path):
    sprites_module.THINGS.write_text("1f408\tcat\n", encoding="utf-8")
    with pytest.raises(InvalidValue, match="out of date"):
        Sprites.open(made)


def test_missing_sprites_are_named(tmp_path: Path):
    with pytest.raises(InvalidValue, match="world-sprites"):
        Sprites.open(tmp_path)
