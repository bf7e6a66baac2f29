"""A user's pictures become a data set: whatever form they come in, and nothing is dropped in silence."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from model_core.errors import InvalidValue
from model_core.training.data import Dataset
from model_core.training.folder import LEFT_OUT, build_folder


def save_picture(path: Path, color: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path)


def png(color: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


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
    assert "is none of PNG" in reasons["broken.webp"]
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


def test_tar_files_are_taken_as_web_datasets(tmp_path: Path):
    write_tar(
        tmp_path / "in/a-000.tar",
        {
            "x/0001.png": png("red"),
            "x/0001.txt": b"a red square",
            "x/0002.jpg": png("blue"),
            "x/0002.json": json.dumps({"caption": "a blue square"}).encode(),
        },
    )
    write_tar(tmp_path / "in/a-001.tar", {"y/0001.png": png("green"), "y/0001.txt": b"green", "y/0002.png": b"broken"})
    report = build_folder(tmp_path / "in", tmp_path / "out", size=4)
    items = Dataset.open(tmp_path / "out").items
    assert [item.prompts[0][0] for item in items] == ["a red square", "a blue square", "green"]
    assert [name for name, _ in report.skipped] == ["a-001.tar/y/0002.png"]


def test_a_broken_tar_file_is_named(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.tar").write_bytes(b"no tar file, but long enough to be looked at" * 20)
    with pytest.raises(InvalidValue, match=r"a\.tar is not a tar file"):
        build_folder(tmp_path / "in", tmp_path / "out", size=4)


def test_tar_files_beside_loose_pictures_are_refused(tmp_path: Path):
    save_picture(tmp_path / "in/cat.png")
    write_tar(tmp_path / "in/a.tar", {"0.png": png("red"), "0.txt": b"red"})
    with pytest.raises(InvalidValue, match="keep one kind"):
        build_folder(tmp_path / "in", tmp_path / "out", size=4)


def test_equal_pictures_become_one_with_all_their_captions(tmp_path: Path):
    for name, caption in (("a", "a cat"), ("b", "a kitten"), ("c", "a cat")):
        save_picture(tmp_path / f"in/{name}.png")
        (tmp_path / f"in/{name}.txt").write_text(caption)
    report = build_folder(tmp_path / "in", tmp_path / "out", size=4)
    assert (report.num_items, report.num_duplicates) == (1, 2)
    (item,) = Dataset.open(tmp_path / "out").items
    assert [prompt for prompt, _ in item.prompts] == ["a cat", "a kitten"]


def test_what_is_left_out_is_listed_beside_the_data_set(tmp_path: Path):
    save_picture(tmp_path / "in/cat.png")
    save_picture(tmp_path / "in/dog.png", "blue")
    (tmp_path / "in/cat.txt").write_text("a cat")
    build_folder(tmp_path / "in", tmp_path / "out", size=4)
    assert (tmp_path / "out" / LEFT_OUT).read_text().startswith("dog.png: it has no caption")


def test_a_share_of_the_concepts_is_kept_back_by_name_alone(tmp_path: Path):
    for i in range(100):
        save_picture(tmp_path / f"in/{i}.png", f"#{i:06x}")
        (tmp_path / f"in/{i}.txt").write_text(f"picture {i}")
    report = build_folder(tmp_path / "in", tmp_path / "out", size=4, validation=0.25)
    assert 10 <= report.num_validation <= 40
    (tmp_path / "in/0.png").unlink()
    build_folder(tmp_path / "in", tmp_path / "again", size=4, validation=0.25)
    kept = [{item.concept for item in Dataset.open(tmp_path / out).split("validation")} for out in ("out", "again")]
    assert kept[0] - {"0"} == kept[1]


def test_a_share_out_of_range_is_refused(tmp_path: Path):
    with pytest.raises(InvalidValue, match=r"validation must be.*got 1\.0"):
        build_folder(tmp_path, tmp_path / "out", size=4, validation=1.0)
