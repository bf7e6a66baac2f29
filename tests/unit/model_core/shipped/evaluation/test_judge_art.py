"""The judge's art: found by code point or by name, in sets that the tests make themselves."""

from pathlib import Path

import pytest

from model_core.shipped.evaluation.judge_art import JUDGE_SETS, art_licences, draw_art, draw_real
from model_core.shipped.picture_sets import TRAINING_SETS
from tests.unit.model_core.shipped.packages_made_here import DOT, SQUARE, fill_cache, picture_package, write_set


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first set knows its pictures by code point, the others by names in their own spelling; one lacks the dot."""
    cache = fill_cache(tmp_path_factory.mktemp("packages"))
    by_code, *by_name = JUDGE_SETS
    write_set(cache, by_code, picture_package({"a": SQUARE, "b": DOT}, {"1f951": "a", "1f34e": "b"}))
    for picture_set in by_name:
        write_set(cache, picture_set, picture_package({"avocado": SQUARE, "RedApple": DOT}, {}))
    write_set(cache, by_name[-1], picture_package({"avo-cado": SQUARE, "green-apple": DOT}, {}))
    return cache


def test_no_set_that_a_network_is_trained_on_is_the_judges():
    assert not {each.package for each in JUDGE_SETS} & {each.package for each in TRAINING_SETS}


def test_pictures_are_found_by_code_point_or_by_name(cache: Path):
    art = draw_art(["1f951", "1f34e"], cache)
    lacking = JUDGE_SETS[-1].style
    assert {style: sorted(found) for style, found in art.items()} == {
        each.style: ["1f951"] if each.style == lacking else ["1f34e", "1f951"] for each in JUDGE_SETS
    }
    for found in art.values():
        assert found["1f951"].shape == (64, 64, 3)
        assert found["1f951"][32, 32].tolist() == [255, 0, 0]
        assert found["1f951"][0, 0].tolist() == [255, 255, 255]


def test_real_pictures_are_those_of_the_training_sets(cache: Path):
    real = draw_real(["1f951", "1f34e"], cache)
    assert {style: len(found) for style, found in real.items()} == {each.style: 2 for each in TRAINING_SETS}


def test_real_pictures_can_be_had_tilted(cache: Path):
    upright, tilted = (draw_real(["1f951"], cache, tilted=tilted) for tilted in (False, True))
    for each in TRAINING_SETS:
        assert (upright[each.style]["1f951"] != tilted[each.style]["1f951"]).any()


def test_every_set_has_its_licence_in_the_table(cache: Path):
    table = art_licences(cache)
    assert all(f"| {each.package} | {each.version} | MIT |" in table for each in JUDGE_SETS)
