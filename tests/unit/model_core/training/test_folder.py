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


def tar_of(count: int, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for i in range(count):
            for suffix, content in ((".png", png("red")), (".txt", b"red")):
                member = tarfile.TarInfo(f"{i}{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_file_is_taken_only_with_its_end(tmp_path: Path, mode: str):
    whole = tar_of(2, mode)
    (tmp_path / "a.tar").write_bytes(whole)
    assert build_folder(tmp_path, tmp_path / "out", size=4).num_duplicates == 1
    if mode == "w":
        end = tar_of(2).rindex(b"red") + 512 - tar_of(2).rindex(b"red") % 512
        cuts = [512, 1024, end // 2 // 512 * 512, end - 512, end, end + 100]
    else:
        cuts = [20, len(whole) // 2, len(whole) - 4]
    for cut in cuts:
        (tmp_path / "a.tar").write_bytes(whole[:cut])
        with pytest.raises(InvalidValue, match=r"a\.tar is not a tar file"):
            build_folder(tmp_path, tmp_path / "out", size=4)


def test_a_tar_file_with_a_broken_header_in_it_is_not_taken_for_a_shorter_one(tmp_path: Path):
    whole = bytearray(tar_of(2))
    at = whole.index(b"1.png")
    whole[at : at + 3] = b"???"  # its checksum is wrong now
    (tmp_path / "a.tar").write_bytes(whole)
    with pytest.raises(InvalidValue, match="no end mark"):
        build_folder(tmp_path, tmp_path / "out", size=4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions.csv", b"file,caption\ncat.png\n,a cat\n", "line 3"),
        ("captions.csv", b'file,caption\ncat.png,"a cat', "not a table"),
        ("captions.csv", b"file,text\ncat.png,a cat\n", "every row needs"),
        ("captions.jsonl", b'{"file": 5, "caption": "a cat"}', "line 1: every row needs"),
        ("captions.jsonl", b'\n{"file": "cat.png", "caption": ["a", "cat"]}', "line 2: `caption` must be a text"),
        ("captions.jsonl", b'{"file": "cat.png", "caption": 7}', "must be a text; got 7"),
        ("captions.jsonl", b'{"file": "cat.png"}', "every row needs"),
        ("captions.jsonl", b'{"file": "cat.png", "caption": "\\ud800"}', "half of a character"),
        ("captions.jsonl", b'{"file": "\\ud800.png", "caption": "a cat"}', "half of a character"),
        ("captions.jsonl", b'{"file": "cat.png", "caption": ' + b"9" * 5000 + b"}", "line 1 is not JSON"),
        ("captions.jsonl", b"[" * 100_000, "line 1 is not JSON"),
    ],
)
def test_a_table_of_captions_is_checked_row_by_row(tmp_path: Path, name: str, content: bytes, message: str):
    save_picture(tmp_path / "cat.png")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidValue, match=message) as error:
        build_folder(tmp_path, tmp_path / "out", size=4)
    assert name in str(error.value)


@pytest.mark.parametrize("said", [b'{"caption": 5}', b'{"caption": "\\ud800"}', b"[1]", b"\xff", b"[" * 100_000])
def test_a_caption_in_a_tar_file_is_checked(tmp_path: Path, said: bytes):
    write_tar(tmp_path / "a.tar", {"0.png": png("red"), "0.json": said})
    with pytest.raises(InvalidValue, match=r"a\.tar/0\.json"):
        build_folder(tmp_path, tmp_path / "out", size=4)


def test_a_caption_may_hold_any_character_that_ends_a_line_elsewhere(tmp_path: Path):
    caption = "a cat\u2028sitting\x85there\x0b"
    save_picture(tmp_path / "cat.png")
    (tmp_path / "captions.jsonl").write_text(json.dumps({"file": "cat.png", "caption": caption}, ensure_ascii=False))
    build_folder(tmp_path, tmp_path / "out", size=4)
    (item,) = Dataset.open(tmp_path / "out").items
    assert item.prompts == ((caption.strip(), 1.0),)


@pytest.mark.parametrize("name", ["cat\0.png", "x" * 300 + ".png", ".", "../in"])
def test_a_name_that_no_picture_can_have_is_left_out(tmp_path: Path, name: str):
    save_picture(tmp_path / "in/cat.png")
    rows = [{"file": name, "caption": "a cat"}, {"file": "cat.png", "caption": "a cat"}]
    (tmp_path / "in/captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = build_folder(tmp_path / "in", tmp_path / "out", size=4)
    assert [skipped for skipped, _ in report.skipped] == [name]


def test_names_that_are_no_text_are_taken(tmp_path: Path):
    first, second = chr(0xDCFF), chr(0xDCFE)  # as Python reads bytes that are no UTF-8
    files = {f"{first}.png": png("red"), f"{first}.txt": b"red", f"{second}.png": png("blue")}
    write_tar(tmp_path / "a.tar", files)
    report = build_folder(tmp_path, tmp_path / "out", size=4)
    assert (report.num_items, len(report.skipped)) == (1, 1)
    assert Dataset.open(tmp_path / "out").items[0].concept == "?"


def test_an_odd_picture_does_not_end_the_building(tmp_path: Path):
    save_picture(tmp_path / "cat.png")
    palette = io.BytesIO()
    Image.new("P", (4, 4)).save(palette, "PNG")
    data = palette.getvalue()
    start = data.index(b"PLTE") - 4
    (tmp_path / "odd.png").write_bytes(data[:start] + data[data.index(b"IDAT") - 4 :])
    for name in ("cat", "odd"):
        (tmp_path / f"{name}.txt").write_text(name)
    report = build_folder(tmp_path, tmp_path / "out", size=4)
    ((name, reason),) = report.skipped
    assert (name, report.num_items) == ("odd.png", 1) and "it has no palette" in reason


def test_pictures_of_formats_that_are_not_read_are_named(tmp_path: Path):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    save_picture(tmp_path / "in/cat.png")
    (tmp_path / "in/phone.HEIC").write_bytes(heic)
    Image.new("RGB", (4, 4)).save(tmp_path / "in/scan.tif")
    for name in ("cat", "phone", "scan"):
        (tmp_path / f"in/{name}.txt").write_text(name)
    reasons = dict(build_folder(tmp_path / "in", tmp_path / "out", size=4).skipped)
    assert reasons.keys() == {"phone.HEIC", "scan.tif"}
    assert "kind HEIC, which is not read; taken are PNG" in reasons["phone.HEIC"]
    assert "kind TIFF" in reasons["scan.tif"]
    write_tar(tmp_path / "tar/a.tar", {"0.png": png("red"), "0.txt": b"red", "1.heic": heic, "1.txt": b"a phone's"})
    assert dict(build_folder(tmp_path / "tar", tmp_path / "out", size=4).skipped).keys() == {"a.tar/1.heic"}


def test_a_gif_is_taken_only_with_its_end(tmp_path: Path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "whole.gif")
    (tmp_path / "cut.gif").write_bytes((tmp_path / "whole.gif").read_bytes()[:-1])
    for name in ("whole", "cut"):
        (tmp_path / f"{name}.txt").write_text(name)
    ((name, reason),) = build_folder(tmp_path, tmp_path / "out", size=4).skipped
    assert name == "cut.gif" and "end mark" in reason
