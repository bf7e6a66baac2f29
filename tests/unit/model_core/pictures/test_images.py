"""Images: pixels to uint8, to files, and files back."""

import io

import numpy as np
import pytest
from PIL import Image

from model_core.errors import InvalidValue
from model_core.pictures import images


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def encoded(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def test_uint8_cuts_off_and_drops_fractions():
    pixels = np.array([-0.5, 0, 0.5, 0.9999, 1, 7], np.float32).reshape(1, 2, 1, 3)
    np.testing.assert_array_equal(images.to_uint8(pixels).ravel(), [0, 0, 127, 254, 255, 255])
    np.testing.assert_array_equal(images.to_uint8(pixels, rounded=True).ravel(), [0, 0, 128, 255, 255, 255])


def test_png_holds_the_image_and_its_bytes_repeat(picture):
    data = images.encode_png(picture)
    np.testing.assert_array_equal(images.read_image(data), picture)
    assert images.encode_png(picture.copy()) == data


def test_grid_goes_row_by_row_and_leaves_the_rest_white():
    cells = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]
    laid = images.grid(cells, columns=2)
    assert laid.shape == (4, 6, 3)
    assert [laid[0, 0, 0], laid[0, 3, 0], laid[2, 0, 0], laid[2, 3, 0]] == [10, 20, 30, 255]
    assert images.grid(cells, columns=9).shape == (2, 9, 3)


@pytest.mark.parametrize(
    ("shapes", "columns", "param"),
    [([], 2, "images"), ([(2, 2, 3), (3, 2, 3)], 2, "images"), ([(2, 2, 3)], 0, "columns")],
)
def test_grid_refuses_what_it_cannot_lay_out(shapes, columns, param):
    with pytest.raises(InvalidValue) as error:
        images.grid([np.zeros(shape, np.uint8) for shape in shapes], columns)
    assert error.value.param == param


def test_reading_lays_transparency_on_white(tmp_path):
    path = tmp_path / "clear.png"
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(path)
    np.testing.assert_array_equal(images.read_image(path), np.full((2, 2, 3), 255))


def test_reading_turns_a_photo_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the camera was held sideways
    data = encoded(Image.new("RGB", (4, 2), "red"), format="JPEG", exif=exif)
    assert images.read_image(data).shape == (4, 2, 3)


@pytest.mark.parametrize("kind", ["no image", "cut off", "other format", "empty"])
def test_reading_refuses_what_is_no_picture(kind, picture):
    data = {
        "no image": b"hello",
        "cut off": images.encode_png(picture)[:60],
        "other format": encoded(Image.fromarray(picture), format="BMP"),
        "empty": b"",
    }[kind]
    with pytest.raises(InvalidValue) as error:
        images.read_image(data)
    assert error.value.param == "image"


@pytest.mark.parametrize("side", [8_000, 12_000, 20_000])  # above our limit; Pillow's warning; Pillow's own limit
def test_reading_refuses_a_bomb_by_its_header(side):
    with pytest.raises(InvalidValue, match=r"pixels|too large"):
        images.read_image(encoded(Image.new("1", (side, side)), format="PNG"))


def test_reading_names_the_file_but_not_its_folder(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(InvalidValue, match=r"^notes\.png"):
        images.read_image(path)
    with pytest.raises(FileNotFoundError):
        images.read_image(tmp_path / "absent.png")


@pytest.mark.parametrize(("output_format", "magic"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_files_come_in_three_formats(output_format, magic, picture):
    data = images.encode(picture, output_format)
    assert data.startswith(magic)
    assert images.read_image(data).shape == picture.shape


def test_compression_makes_smaller_files_and_leaves_png_alone(picture):
    large = np.kron(picture, np.ones((9, 9, 1), np.uint8))
    for output_format in ("jpeg", "webp"):
        sizes = [len(images.encode(large, output_format, compression)) for compression in (0, 50, 100)]
        assert sizes == sorted(set(sizes))
    assert images.encode(large, "png", 100) == images.encode(large, "png", 100)


def test_fitting_keeps_the_proportions_and_fills_with_the_borders_colour():
    image = np.full((8, 8, 3), 50, np.uint8)
    image[:, 0], image[:, -1] = 10, 200
    wide = images.fit(image, 32, 16)
    assert wide.shape == (16, 32, 3)
    assert (wide[:, :8] == 10).all() and (wide[:, 24:] == 200).all()
    np.testing.assert_allclose(wide[:, 14:18], 50, atol=2)
    image[0], image[-1] = 20, 90
    tall = images.fit(image, 16, 32)
    assert (tall[:8] == 20).all() and (tall[24:] == 90).all()


@pytest.mark.parametrize(("width", "height"), [(5, 7), (7, 5), (70, 50), (16, 16), (1, 3)])
def test_fitting_gives_the_size_that_was_asked_for(width, height, picture):
    assert images.fit(picture, width, height).shape == (height, width, 3)
    assert images.fit(picture, 7, 5) is picture


def test_a_square_is_cut_out_of_the_middle():
    image = np.zeros((4, 10, 3), np.uint8)
    image[:, 3:7] = 255
    assert (images.square(image, 4) == 255).all()
    assert images.square(image, 9).shape == (9, 9, 3)


def test_a_veil_covers_what_is_not_drawn_and_nothing_else(picture):
    large = np.kron(picture, np.ones((8, 8, 1), np.uint8))
    for rows in (0, 1, 20, 40):
        veiled = images.veil(large, rows)
        np.testing.assert_array_equal(veiled[:rows], large[:rows])
        if rows < 40:
            assert np.ptp(veiled[rows:].astype(int), axis=1).max() <= np.ptp(large.astype(int))
            np.testing.assert_allclose(veiled[-1], np.tile(images.VEIL, (56, 1)), atol=60)
    np.testing.assert_array_equal(images.veil(large, 0)[-1, 0], images.VEIL)


def test_reading_with_alpha_tells_what_is_clear():
    clear = encoded(Image.new("RGBA", (3, 2), (255, 0, 0, 0)), format="PNG")
    image, alpha = images.read_with_alpha(clear, "mask", 100)
    assert (image == 255).all() and alpha is not None and alpha.shape == (2, 3) and not alpha.any()
    assert images.read_with_alpha(encoded(Image.new("RGB", (3, 2)), format="JPEG"), "image", 100)[1] is None
    with pytest.raises(InvalidValue, match="at most 5") as error:
        images.read_with_alpha(clear, "mask", 5)
    assert error.value.param == "mask"
