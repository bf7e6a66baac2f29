"""Data sets of codes: what is written is what is read, in one order, however often the writing was broken off."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core import bundles
from model_core.errors import InvalidValue
from model_core.stages import ImageDecoder
from model_core.training.data import Dataset
from model_core.training.encoded import EncodedDataset, is_encoded
from model_core.training.encoding import EncodeSettings, encode
from model_core.training.folder import build_folder

NAMES = tuple(f"{number:02d}" for number in range(7))


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(256, size=(16, 16, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Seven pictures; the fifth equals the first, the sixth has no caption."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, name in enumerate(NAMES):
        picture(0 if number == 4 else number).save(folder / f"{name}.png")
        if number != 5:
            (folder / f"{name}.txt").write_text(f"picture {name}\nof many, ü" if number == 1 else f"picture {name}")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, fixtures: Path) -> Path:
    """A whole one of 32 pixels."""
    folder = tmp_path_factory.mktemp("model")
    for part, fixture in {"dalle_bart": "dalle-tiny", "vqgan": "vqgan-tiny", "clip": "clip-tiny"}.items():
        (folder / part).symlink_to(fixtures / fixture)
    return folder


@pytest.fixture(scope="module")
def codec(model: Path) -> ImageDecoder:
    return ImageDecoder(bundles.resolve(model).codec, batch_size=4)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, pictures: Path, model: Path) -> EncodedDataset:
    return encode(pictures, tmp_path_factory.mktemp("encoded"), str(model), EncodeSettings(shard=3), lambda _: None)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_rows_are_the_pictures_codes_and_captions_in_order(encoded: EncodedDataset, codec: ImageDecoder):
    side = codec.config.size[0]
    kept = [number for number in range(7) if number not in (4, 5)]
    assert len(encoded) == len(kept)
    captions = [item.prompts[0][0] for item in encoded.items]
    assert captions == [f"picture {NAMES[number]}" + (" of many, ü" if number == 1 else "") for number in kept]
    pixels = np.stack([np.asarray(picture(number).resize((side, side), Image.Resampling.LANCZOS)) for number in kept])
    np.testing.assert_array_equal(encoded.codes[[4, 0, 2]], codec.encode(pixels)[[4, 0, 2]])
    assert encoded.codes[[0]].dtype == np.uint16


def test_items_are_a_sequence_that_reads_what_is_asked_for(encoded: EncodedDataset):
    items = encoded.items
    assert [item.concept for item in items[1::2]] == ["1", "3"]
    assert items[-1] == items[len(items) - 1]
    with pytest.raises(IndexError):
        items[5]
    assert list(encoded.split("validation")) == []


def test_what_was_left_out_is_named_and_counted(encoded: EncodedDataset):
    told = [json.loads(path.read_text())["left_out"] for path in sorted(encoded.folder.glob("shard-*.json"))]
    assert [[name for name, _ in shard] for shard in told] == [[], ["05.png"], []]
    page = (encoded.folder / "statistics.md").read_text()
    assert "| pictures | 5, in 3 shards |" in page
    assert "| equal to another | 1 |" in page
    assert "| left out: it has no caption | 1 |" in page


def test_a_broken_off_encoding_goes_on_and_so_do_parts_on_several_machines(tmp_path, pictures, model, encoded):
    settings = [EncodeSettings(shard=3, part=part, parts=2) for part in (1, 0)]
    for setting in settings:
        encode(pictures, tmp_path, str(model), setting, lambda _: None)
    assert files(tmp_path) == files(encoded.folder) | {"statistics.md": (tmp_path / "statistics.md").read_bytes()}
    assert [item.prompts for item in EncodedDataset(tmp_path).items] == [item.prompts for item in encoded.items]
    (tmp_path / "shard-00001.json").unlink()  # a kill before the last file of a shard
    told: list[str] = []
    encode(pictures, tmp_path, str(model), EncodeSettings(shard=3), told.append)
    assert [line.partition(":")[0] for line in told] == ["shard 00001"]
    assert (tmp_path / "codes-00001.npy").read_bytes() == (encoded.folder / "codes-00001.npy").read_bytes()


def test_tar_files_and_data_sets_give_the_same_codes(tmp_path: Path, pictures: Path, model: Path, codec, encoded):
    archives, data = tmp_path / "archives", tmp_path / "data"
    archives.mkdir()
    with tarfile.open(archives / "one.tar", "w") as tar:
        for path in sorted(pictures.iterdir()):
            info = tarfile.TarInfo(path.name)
            info.size = path.stat().st_size
            tar.addfile(info, io.BytesIO(path.read_bytes()))
    build_folder(pictures, data, codec.config.size[0])
    for source, name in ((archives, "tars"), (data, "set")):
        made = encode(source, tmp_path / name, str(model), EncodeSettings(), lambda _: None)
        np.testing.assert_array_equal(made.codes[list(range(5))], encoded.codes[list(range(5))])
    assert not is_encoded(data)
    assert len(Dataset.open(data).items) == 5


def wants_late_ones(pixels: np.ndarray, caption: str) -> bool:
    """An operator's own filter."""
    return caption >= "picture 03"


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"min_side": 17}, None),
        ({"wanted": f"{__name__}:wants_late_ones"}, ["picture 03", "picture 04", "picture 06"]),
        pytest.param({"min_score": 1e9}, None, marks=pytest.mark.exhaustive),
        pytest.param(
            {"min_score": -1e9},
            ["picture 00", "picture 01 of many, ü", "picture 02", "picture 03", "picture 06"],
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_filters(tmp_path: Path, pictures: Path, model: Path, changes: dict, kept: list[str] | None):
    if kept is None:
        with pytest.raises(InvalidValue, match="holds no picture yet"):
            encode(pictures, tmp_path, str(model), EncodeSettings(**changes), lambda _: None)
        return
    made = encode(pictures, tmp_path, str(model), EncodeSettings(**changes), lambda _: None)
    assert [item.prompts[0][0] for item in made.items] == kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard": 0}, "shard must be at least 1"),
        ({"part": 2, "parts": 2}, "part from 0 to parts - 1"),
        ({"wanted": "nothing"}, "must be module:function"),
        ({"wanted": "json:nothing"}, "must be module:function"),
        ({"shard": 2}, "Encode into another folder"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, pictures, model, changes: dict, message: str):
    (tmp_path / "encoded.json").write_text('{"shard": 3}')
    with pytest.raises(InvalidValue, match=message):
        encode(pictures, tmp_path, str(model), EncodeSettings(**changes), lambda _: None)


def test_a_folder_without_codes_is_refused(tmp_path: Path):
    with pytest.raises(InvalidValue, match=r"encoded\.json is missing"):
        EncodedDataset(tmp_path)


def test_there_are_no_pictures_in_it(encoded: EncodedDataset):
    with pytest.raises(InvalidValue, match="holds codes, not pictures"):
        encoded.load_pixels(encoded.items)
