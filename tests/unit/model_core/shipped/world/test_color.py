"""Colours to Oklab and back."""

import numpy as np
import pytest

from model_core.shipped.scenes import COLORS
from model_core.shipped.world.color import (
    NAMED,
    as_hex,
    chroma_of,
    hue_distance,
    hue_of,
    nearest_name,
    parse_hex,
    to_lab,
    to_rgb,
)


def test_white_and_black_have_lightness_one_and_zero_and_no_chroma():
    np.testing.assert_allclose(to_lab(np.array([[1.0, 1, 1], [0, 0, 0]])), [[1, 0, 0], [0, 0, 0]], atol=1e-4)


def test_the_way_there_and_back_changes_nothing():
    rgb = np.random.default_rng(0).random((50, 3))
    np.testing.assert_allclose(to_rgb(to_lab(rgb)), rgb, atol=1e-6)


def test_what_no_screen_can_show_is_cut():
    assert to_rgb(np.array([0.9, 0.4, 0.4])).max() == pytest.approx(1)


@pytest.mark.parametrize("code", ["#e53935", "#000000", "#ffffff"])
def test_hex_codes_come_back(code: str):
    assert as_hex(parse_hex(code)) == code


def test_short_codes_are_read():
    assert as_hex(parse_hex("#fa0")) == "#ffaa00"


def test_hues_are_a_circle():
    assert hue_distance(np.array(350.0), np.array(10.0)) == 20


def test_each_named_colour_is_nearest_to_itself():
    assert [nearest_name(lab) for lab in NAMED.values()] == list(COLORS)


def test_red_and_green_have_different_hues_and_gray_has_no_chroma():
    assert hue_distance(hue_of(NAMED["red"]), hue_of(NAMED["green"])) > 90
    assert chroma_of(NAMED["gray"]) < 0.01 < 0.1 < chroma_of(NAMED["red"])
