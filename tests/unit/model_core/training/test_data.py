"""The training set on disk: what is written is read back, and what cannot be read is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.errors import InvalidValue
from model_core.training.data import INDEX, Dataset, Item, build_folder, draw_prompt, write_index


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
    with pytest.raises(InvalidValue, match=r"not a readable picture.*a\.png"):
        dataset.load_pixels(items)
    (tmp_path / "images/a.png").unlink()
    with pytest.raises(InvalidValue, match=r"no such picture.*a\.png"):
        dataset.load_pixels(items)


def test_a_folder_is_taken_with_the_captions_beside_its_pictures(tmp_path: Path):
    save_picture(tmp_path / "in/cat.jpg")
    save_picture(tmp_path / "in/dog.png")
    save_picture(tmp_path / "in/uncaptioned.png")
    (tmp_path / "in/cat.txt").write_text("a cat\n")
    (tmp_path / "in/dog.txt").write_text("ein süßer Hund")
    (tmp_path / "in/broken.webp").write_bytes(b"RIFF")
    (tmp_path / "in/broken.txt").write_text("a broken picture")
    report = build_folder(tmp_path / "in", tmp_path / "out", size=4)
    assert report.num_items == 2
    reasons = dict(report.skipped)
    assert reasons.keys() == {"broken.webp", "uncaptioned.png"}
    assert "not a readable picture" in reasons["broken.webp"]
    assert "no caption" in reasons["uncaptioned.png"]
    dataset = Dataset.open(tmp_path / "out")
    assert [item.prompts[0][0] for item in dataset.items] == ["a cat", "ein süßer Hund"]
    assert dataset.load_pixels(dataset.items).shape == (2, 4, 4, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.csv", 'file,caption\ncat.png,"a cat, sitting"\ngone.png,a dog\n'),
        ("captions.jsonl", '{"file": "cat.png", "caption": "a cat, sitting"}\n{"file": "gone.png", "caption": "a"}\n'),
    ],
)
def test_a_folder_is_taken_with_one_file_of_captions(tmp_path: Path, name: str, content: str):
    save_picture(tmp_path / "in/cat.png")
    (tmp_path / "in" / name).write_text(content)
    report = build_folder(tmp_path / "in", tmp_path / "out", size=4)
    (item,) = Dataset.open(tmp_path / "out").items
    assert item.prompts == (("a cat, sitting", 1.0),)
    ((file, reason),) = report.skipped
    assert file == "gone.png"
    assert "no such picture" in reason


def test_a_picture_is_cropped_at_its_centre_and_put_on_white(tmp_path: Path):
    picture = Image.new("RGBA", (30, 10), "red")
    picture.paste((0, 0, 0, 0), (10, 0, 20, 10))  # the middle third is transparent
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in/wide.png")
    (tmp_path / "in/wide.txt").write_text("wide")
    build_folder(tmp_path / "in", tmp_path / "out", size=10)
    dataset = Dataset.open(tmp_path / "out")
    assert (dataset.load_pixels(dataset.items) == 255).all()


def test_a_folder_without_a_usable_picture_leaves_no_data_set(tmp_path: Path):
    save_picture(tmp_path / "in/cat.png")
    with pytest.raises(InvalidValue, match=r"(?s)no usable picture.*cat\.png: it has no caption"):
        build_folder(tmp_path / "in", tmp_path / "out", size=4)
    with pytest.raises(InvalidValue, match="Build one first"):
        Dataset.open(tmp_path / "out")


def test_captions_that_cannot_be_read_are_named(tmp_path: Path):
    save_picture(tmp_path / "cat.png")
    for name, content in [
        ("captions.csv", b"name,text\n1,2\n"),
        ("captions.jsonl", b"[1]"),
        ("cat.txt", b"\xff\xfe\xff"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidValue, match=name):
            build_folder(tmp_path, tmp_path / "out", size=4)
        (tmp_path / name).unlink()


def test_two_files_of_captions_are_refused(tmp_path: Path):
    save_picture(tmp_path / "cat.png")
    (tmp_path / "captions.csv").write_text("file,caption\n")
    (tmp_path / "captions.jsonl").write_text("")
    with pytest.raises(InvalidValue, match="keep one"):
        build_folder(tmp_path, tmp_path / "out", size=4)


def test_a_size_below_one_and_a_missing_folder_are_refused(tmp_path: Path):
    with pytest.raises(InvalidValue, match="at least 1 pixel; got 0"):
        build_folder(tmp_path, tmp_path / "out", size=0)
    with pytest.raises(InvalidValue, match="no such folder"):
        build_folder(tmp_path / "gone", tmp_path / "out", size=4)
