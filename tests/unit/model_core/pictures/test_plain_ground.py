"""Drawings on plain grounds, made by hand, so that what is behind them is known."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from model_core.pictures import images
from model_core.pictures.plain_ground import clear_ground

SIDE = 64
WHITE, GREEN, BLACK, PINK = (255, 255, 255), (20, 160, 60), (0, 0, 0), (255, 0, 255)


def disc(colour: tuple[int, int, int] = (200, 40, 40), radius: int = 20) -> Image.Image:
    """A disc in the middle, with alpha, its outline smooth: drawn four times as large and scaled."""
    large = Image.new("RGBA", (4 * SIDE, 4 * SIDE), (*colour, 0))
    low, high = 2 * SIDE - 4 * radius, 2 * SIDE + 4 * radius
    ImageDraw.Draw(large).ellipse((low, low, high, high), fill=(*colour, 255))
    return large.resize((SIDE, SIDE), Image.Resampling.BOX)


def laid_on(drawing: Image.Image, ground: tuple[int, int, int]) -> np.ndarray:
    return np.array(Image.alpha_composite(Image.new("RGBA", drawing.size, (*ground, 255)), drawing).convert("RGB"))


def cleared(picture: np.ndarray) -> np.ndarray:
    result = clear_ground(picture)
    assert result is not None and result.shape == (*picture.shape[:2], 4)
    return result


@pytest.mark.parametrize("ground", [WHITE, GREEN, BLACK])
@pytest.mark.parametrize("noise", [0, 4])
def test_a_drawing_looks_on_another_ground_as_if_it_had_been_drawn_there(ground: tuple[int, int, int], noise: int):
    drawing, wavering = disc(), np.random.default_rng(0).integers(-noise, noise + 1, (SIDE, SIDE, 3))
    found = cleared((laid_on(drawing, ground) + wavering).clip(0, 255).astype(np.uint8))
    off = abs(found[..., 3].astype(int) - np.array(drawing)[..., 3])
    assert off.max() <= 40 + 8 * noise and off.mean() < 1
    for other in (WHITE, GREEN, BLACK, PINK):
        wrong = abs(laid_on(Image.fromarray(found), other).astype(int) - laid_on(drawing, other)).max(axis=2)
        assert wrong.max() <= 50 + 10 * noise and wrong.mean() < 1 + noise, other


def test_what_is_within_the_drawing_stays_whatever_its_colour():
    picture = laid_on(disc(), WHITE)
    picture[28:36, 28:36] = 255  # the white of an eye
    assert (cleared(picture)[20:44, 20:44, 3] == 255).all()


def test_a_narrow_gap_lets_nothing_out():
    """A white drawing with a thin outline, which has a gap of two pixels."""
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    picture[16:48, 16:48] = 30
    picture[18:46, 18:46] = 255
    picture[10:20, 30:32] = 255
    alpha = cleared(picture)[..., 3]
    assert (alpha[20:44, 20:44] == 255).all() and not alpha[:14].any()


@pytest.mark.parametrize("noisy", [True, False])
def test_without_a_plain_ground_there_is_nothing_to_clear(noisy: bool):
    wide = np.linspace(0, 255, SIDE, dtype=np.uint8)[None, :, None]
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    assert clear_ground(noise if noisy else np.broadcast_to(wide, (SIDE, SIDE, 3)).copy()) is None


def test_a_picture_of_nothing_but_ground_is_clear():
    assert not cleared(np.full((SIDE, SIDE, 3), 200, np.uint8))[..., 3].any()


def test_a_drawing_that_reaches_the_border_is_cut_there():
    picture = laid_on(disc(), WHITE)
    picture[40:, 20:30] = (0, 0, 200)
    assert (cleared(picture)[44:, 22:28, 3] == 255).all()


@pytest.mark.parametrize("output_format", ["png", "webp"])
def test_files_and_other_sizes_keep_what_is_clear(output_format: str):
    fitted = images.fit(cleared(laid_on(disc(), WHITE)), 200, 100)
    read, alpha = images.read_with_alpha(images.encode(fitted, output_format, 90, {"seed": "7"}), "image", 10**6)
    assert alpha is not None and read.shape == (100, 200, 3)
    assert not alpha[:, :50].any() and not alpha[:, 150:].any() and alpha[50, 100] == 255


def test_a_pixel_that_is_off_is_no_drawing():
    picture = laid_on(disc(), WHITE)
    picture[0, 0] = picture[5, 60] = (180, 190, 200)
    assert not cleared(picture)[:10, :, 3].any()
