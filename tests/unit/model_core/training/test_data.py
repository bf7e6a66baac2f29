"""The training set on disk: what is written is read back, and what cannot be read is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.errors import InvalidValue
from model_core.training.data import INDEX, Dataset, Item, draw_prompt, example_prompts, write_index


def save_picture(path: Path, color: str = "red", shape: tuple[int, int] = (8, 8), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, shape, color).save(path)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """A red and a blue picture in `tmp_path`, one for each split."""
    save_picture(tmp_path / "images/a.png", "red")
    save_picture(tmp_path / "images/b.png", "blue")
    return [
        Item(image="images/a.png", prompts=(("red", 3.0), ("a “red” square", 1.0)), concept="r", style="flat"),
        Item(image="images/b.png", prompts=(("blue", 1.0),), concept="b", split="validation"),
    ]


def test_a_data_set_is_read_back_as_it_was_written(tmp_path: Path, items: list[Item]):
    write_index(tmp_path, items)
    dataset = Dataset.open(tmp_path)
    assert list(dataset.items) == items
    assert dataset.split("train") == (items[0],)
    assert dataset.split("validation") == (items[1],)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [INDEX]


def test_pixels_come_in_the_order_asked_for(tmp_path: Path, items: list[Item]):
    write_index(tmp_path, items)
    pixels = Dataset.open(tmp_path).load_pixels(items[::-1])
    assert pixels.dtype == np.uint8
    assert pixels.shape == (2, 8, 8, 3)
    assert pixels[:, 0, 0].tolist() == [[0, 0, 255], [255, 0, 0]]


def test_prompts_are_drawn_in_proportion_to_their_weights(items: list[Item]):
    rng = np.random.default_rng(0)
    draws = [draw_prompt(items[0], rng) for _ in range(2000)]
    assert set(draws) == {"red", "a “red” square"}
    assert draws.count("red") / len(draws) == pytest.approx(0.75, abs=0.04)  # four standard deviations


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": []}, "at least one prompt"),
        ({"prompts": [["red", 0]]}, "weights above 0"),
        ({"prompts": "red"}, "not an item"),
        ({"split": "test"}, "train, validation, unseen"),
        ({"colour": "red"}, "colour"),
        ({"image": 5}, "image must be a text; got 5"),
        ({"concept": None}, "concept must be a text"),
        ({"concept": "\ud800"}, "concept must be a text"),
        ({"style": ["flat"]}, "style must be a text"),
        ({"split": ["train"]}, "split must be a text"),
        ({"prompts": [[5, 1.0]]}, "a prompt must be a text; got 5"),
        ({"prompts": [["red", "1"]]}, "weights must be numbers, and weights above 0; got '1'"),
        ({"prompts": [["red", float("nan")]]}, "weights must be numbers, and weights above 0; got nan"),
        ({"prompts": [["red", float("inf")]]}, "weights must be numbers, and weights above 0; got inf"),
        ({"prompts": [["red", 10**400]]}, "weights must be numbers, and weights above 0"),
        ({"prompts": [["red", True]]}, "weights must be numbers, and weights above 0; got True"),
    ],
)
def test_a_line_that_is_no_item_is_named(tmp_path: Path, change: dict, message: str):
    good = {"image": "a.png", "prompts": [["red", 1.0]], "concept": "r"}
    lines = [json.dumps(good), json.dumps(good | change)]
    (tmp_path / INDEX).write_text("\n".join(lines))
    with pytest.raises(InvalidValue, match=rf"line 2\b.*{message}"):
        Dataset.open(tmp_path)


def test_a_truncated_index_is_refused(tmp_path: Path, items: list[Item]):
    write_index(tmp_path, items)
    index = tmp_path / INDEX
    index.write_text(index.read_text()[:-20])
    with pytest.raises(InvalidValue, match="line 2"):
        Dataset.open(tmp_path)


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b"5", b'"a"', b"null", b"9" * 5000])
def test_an_index_that_is_none_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / INDEX).write_bytes(content)
    with pytest.raises(InvalidValue, match=INDEX):
        Dataset.open(tmp_path)


def test_a_folder_without_a_data_set_is_refused(tmp_path: Path):
    with pytest.raises(InvalidValue, match="Build one first"):
        Dataset.open(tmp_path)


def test_an_unknown_split_is_refused(items: list[Item]):
    with pytest.raises(InvalidValue, match="train, validation, unseen"):
        Dataset(Path(), tuple(items)).split("test")


def test_pictures_of_two_sizes_do_not_load_together(tmp_path: Path, items: list[Item]):
    save_picture(tmp_path / "images/b.png", shape=(4, 4))
    with pytest.raises(InvalidValue, match="one size"):
        Dataset(tmp_path, tuple(items)).load_pixels(items)


def test_a_missing_or_broken_picture_is_named(tmp_path: Path, items: list[Item]):
    dataset = Dataset(tmp_path, tuple(items))
    (tmp_path / "images/a.png").write_bytes(b"no picture")
    with pytest.raises(InvalidValue, match=r"a\.png is none of PNG"):
        dataset.load_pixels(items)
    (tmp_path / "images/a.png").unlink()
    with pytest.raises(InvalidValue, match=r"no such picture.*a\.png"):
        dataset.load_pixels(items)


def test_examples_take_turns_among_the_likeliest_prompts():
    items = [
        Item(image=f"{i}.png", prompts=((f"a {i}", 0.4), (f"{i}, flat", 0.4), (f"the {i}", 0.2)), concept=f"{i}")
        for i in range(9)
    ]
    assert example_prompts(items, 4) == ["a 0", "2, flat", "a 4", "6, flat"]
    assert example_prompts(items[:2], 4) == ["a 0", "1, flat"]
