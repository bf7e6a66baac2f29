"""Measures, on pictures and rankings whose results can be worked out by hand."""

import numpy as np
import pytest

from model_core.shipped.evaluation.measures import hits, interval, own_pixels, psnr, ssim


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(32, 32, 3), dtype=np.uint8)


def test_own_pixels_are_what_is_drawn_its_holes_and_two_pixels_around():
    ring = np.full((20, 20, 3), 255, np.uint8)
    ring[5:15, 5:15] = 0
    ring[7:13, 7:13] = 255
    own = own_pixels(ring)
    assert own[5:15, 5:15].all()
    assert own[3, 10] and own[10, 16]
    assert not own[2, 10] and not own[10, 17]


def test_psnr_counts_own_pixels_only():
    want = np.full((40, 40, 3), 255, np.uint8)
    want[10:30, 10:30] = 100
    got = want.copy()
    got[0, 0] = 0  # far from what is drawn
    assert psnr(got, want) == float("inf")
    got[own_pixels(want)] -= 10
    assert psnr(got, want) == pytest.approx(20 * np.log10(25.5))


def test_psnr_of_a_blank_picture_counts_all_of_it():
    white = np.full((8, 8, 3), 255, np.uint8)
    assert psnr(white - 51, white) == pytest.approx(20 * np.log10(5))


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise():
    picture = noise(0)
    half = (picture // 2 + noise(1) // 2).astype(np.uint8)
    assert ssim(picture, picture) == pytest.approx(1)
    assert 0 < ssim(half, picture) < 0.9
    assert abs(ssim(noise(1), picture)) < 0.1


def test_hits_count_a_label_among_the_k_largest_and_no_ties():
    logits = np.array([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [1.0, 1.0, 1.0]])
    labels = np.array([0, 0, 0])
    assert hits(logits, labels, 1).tolist() == [True, False, False]
    assert hits(logits, labels, 2).tolist() == [True, False, False]
    assert hits(logits, labels, 3).tolist() == [True, True, True]


def test_an_interval_holds_the_mean_and_narrows_with_more_rows():
    coins = np.tile([0.0, 1.0], 50)
    low, high = interval(coins)
    assert low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 10, rel=0.1)  # of a mean of 100 coins
    assert interval(np.ones(7)) == (1.0, 1.0)
