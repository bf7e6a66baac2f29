import io

import numpy as np
import pytest
from PIL import Image

from model_core.pictures import images
from model_core.pictures.provenance import read_notes

NOTES = {"model": "emoji", "seed": "7", "parameters": '{"top_k": 50}', "prompt": "a café, 猫"}


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_a_file_says_what_drew_it(picture: np.ndarray, output_format: str):
    file = images.encode(picture, output_format, 90, NOTES)
    assert read_notes(file) == NOTES
    assert b"trainedAlgorithmicMedia" in file
    assert images.encode(picture, output_format, 90, NOTES) == file


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_a_file_says_nothing_unasked(picture: np.ndarray, output_format: str):
    file = images.encode(picture, output_format)
    assert read_notes(file) == {}
    assert b"trainedAlgorithmicMedia" not in file


def test_a_full_prompt_fits(picture: np.ndarray):
    for output_format in ("jpeg", "webp"):
        notes = {"prompt": "猫" * 2000, "negative_prompt": "犬" * 2000}
        assert read_notes(images.encode(picture, output_format, 90, notes)) == notes


def test_notes_leave_the_picture_alone(picture: np.ndarray):
    with Image.open(io.BytesIO(images.encode(picture, "png", 100, NOTES))) as read:
        np.testing.assert_array_equal(np.array(read), picture)
