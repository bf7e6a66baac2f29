"""A user's captioned pictures become a data set.

They come in one of four forms: a text file beside each picture, one table of captions (CSV or JSON lines), or tar files
in the WebDataset layout, where files that share a name up to its first dot belong together. Every picture that is not
taken is named with the reason; equal pictures become one, with all their captions.
"""

import csv
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image, ImageOps

from model_core.errors import InvalidValue
from model_core.training.data import Item, read_picture, write_index

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
OTHER_SUFFIXES = (".heic", ".heif", ".avif", ".tif", ".tiff", ".jxl", ".jp2", ".svg")  # not read, but not passed over
CAPTION_FILES = ("captions.csv", "captions.jsonl")
LEFT_OUT = "left_out.txt"
NO_CAPTION = "it has no caption: write one in a .txt file beside it, or in captions.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReport:
    """What became of a user's pictures.

    Attributes:
      num_items: pictures taken into the data set.
      num_validation: how many of them are in the validation split.
      num_duplicates: pictures that equal one that was taken; their captions were added to it.
      skipped: picture and reason, for each picture left out for another reason.
    """

    num_items: int
    num_validation: int
    num_duplicates: int
    skipped: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Taken:
    """A picture in the new data set, and every caption that was found for it."""

    image: str
    concept: str
    captions: list[str] = field(default_factory=list)


def build_folder(images: Path, out: Path, size: int, validation: float = 0.0) -> FolderReport:
    """Turns a folder of captioned pictures into a data set of `size` × `size` pictures.

    Pictures are turned upright, put on white, resized and centre-cropped. What was left out stands in `left_out.txt`.

    Args:
      validation: share of the concepts (names of files without their suffix) that are kept back; which ones depends on
        the name alone.

    Raises:
      InvalidValue: the folder or its captions cannot be read, or no picture is usable; every reason is named.
    """
    images, out = Path(images), Path(out)
    if size < 1:
        raise InvalidValue(f"size must be at least 1 pixel; got {size}.", "size")
    if not 0 <= validation < 1:
        raise InvalidValue(f"validation must be a share, from 0 to below 1; got {validation}.", "validation")
    if not images.is_dir():
        raise InvalidValue(f"no such folder: {images}. Name a folder of pictures.")
    (out / "images").mkdir(parents=True, exist_ok=True)
    taken: dict[bytes, _Taken] = {}
    skipped, num_duplicates = [], 0
    for name, caption, source in pairs(images):
        try:
            if not caption.strip():
                raise InvalidValue(NO_CAPTION)
            picture = Image.fromarray(read_picture(source, name))
            picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
        except InvalidValue as error:
            skipped.append((name.encode(errors="replace").decode(), str(error)))
            continue
        digest = hashlib.sha256(picture.tobytes()).digest()
        if digest in taken:
            num_duplicates += 1
        else:
            taken[digest] = _Taken(f"images/{len(taken):06d}.png", _concept(name))
            picture.save(out / taken[digest].image)
        if caption.strip() not in taken[digest].captions:
            taken[digest].captions.append(caption.strip())
    reasons = "".join(f"{name}: {reason}\n" for name, reason in skipped)
    if not taken:
        raise InvalidValue(f"no usable picture in {images} ({', '.join(PICTURE_SUFFIXES)}).\n{reasons}".rstrip())
    (out / LEFT_OUT).write_text(reasons, encoding="utf-8")
    items = [_item(each, validation) for each in taken.values()]
    write_index(out, items)
    return FolderReport(
        num_items=len(items),
        num_validation=sum(item.split == "validation" for item in items),
        num_duplicates=num_duplicates,
        skipped=tuple(skipped),
    )


def _concept(name: str) -> str:
    """The file's name without suffixes; a name may hold bytes that are no text."""
    return PurePosixPath(name).name.split(".")[0].encode(errors="replace").decode()


def _item(taken: _Taken, validation: float) -> Item:
    is_kept_back = zlib.crc32(taken.concept.encode()) < validation * 2**32
    return Item(
        image=taken.image,
        prompts=tuple((caption, 1.0) for caption in taken.captions),
        concept=taken.concept,
        split="validation" if is_kept_back else "train",
    )


def pairs(images: Path) -> Iterator[tuple[str, str, Path | bytes]]:
    """(name, caption, picture) of everything; an empty caption where there is none."""
    tables = [images / name for name in CAPTION_FILES if (images / name).is_file()]
    archives = sorted(images.glob("*.tar"))
    suffixes = (*PICTURE_SUFFIXES, *OTHER_SUFFIXES)
    pictures = sorted(path for path in images.iterdir() if path.suffix.lower() in suffixes)
    if len(tables) > 1:
        raise InvalidValue(f"both {' and '.join(CAPTION_FILES)} are in {images}: keep one.")
    if archives and (tables or pictures):
        raise InvalidValue(f"{images} holds both tar files and loose pictures: keep one kind in a folder.")
    if archives:
        for archive in archives:
            yield from _archived(archive)
    elif tables:
        yield from ((file, caption, images / file) for file, caption in _read_table(tables[0]))
    else:
        for path in pictures:
            text = path.with_suffix(".txt")
            yield path.name, _text(text.read_bytes(), text.name) if text.is_file() else "", path


def _archived(archive: Path) -> Iterator[tuple[str, str, bytes]]:
    """The pairs of one tar file; the files of a pair stand next to each other."""
    try:
        with tarfile.open(archive) as tar:
            key, files = "", {}
            for member in tar:
                if not member.isfile():
                    continue
                path = PurePosixPath(member.name)
                stem, _, suffix = path.name.partition(".")
                if (path.parent / stem).as_posix() != key:
                    yield from _pair(archive, key, files)
                    key, files = (path.parent / stem).as_posix(), {}
                content = tar.extractfile(member)
                files[f".{suffix.lower()}"] = content.read() if content else b""
            _check_end(tar)
            yield from _pair(archive, key, files)
    except InvalidValue:
        raise
    except Exception as error:  # a parser of foreign bytes raises anything
        raise InvalidValue(f"{archive} is not a tar file that can be read ({error}).") from error


def _check_end(tar: tarfile.TarFile) -> None:
    """Two empty blocks end a tar file; one that is cut between two files reads like a shorter one without a fault."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError("it has no end mark: it is cut off, or a part of it is broken")
    while tar.fileobj.read(2**20):  # a compressed file says at its very end whether it is whole
        pass


def _pair(archive: Path, key: str, files: dict[str, bytes]) -> Iterator[tuple[str, str, bytes]]:
    name = f"{archive.name}/{key}"
    caption = _text(files.get(".txt", b""), f"{name}.txt")
    if ".json" in files and not caption:
        place = f"{name}.json"
        caption = _caption(_object(_text(files[".json"], place), place), place)
    suffixes = (*PICTURE_SUFFIXES, *OTHER_SUFFIXES)
    yield from ((f"{name}{suffix}", caption, files[suffix]) for suffix in suffixes if suffix in files)


def _read_table(path: Path) -> list[tuple[str, str]]:
    text = _text(path.read_bytes(), str(path))
    rows: list[tuple[str, dict[str, Any]]] = []
    if path.suffix == ".csv":
        try:
            reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
        except (ValueError, csv.Error) as error:
            raise InvalidValue(f"{path} is not a table as CSV has it ({error}).") from error
    else:
        lines = [(f"{path}, line {number}", line) for number, line in enumerate(text.split("\n"), 1)]
        rows = [(place, _object(line, place)) for place, line in lines if line.strip()]
    for place, row in rows:
        if not isinstance(row.get("file"), str) or not row["file"] or "caption" not in row:
            raise InvalidValue(
                f"{place}: every row needs `file`, the name of a picture, and `caption`; got {row!r:.100}."
            )
    return [(_encodable(row["file"], place), _caption(row, place)) for place, row in rows]


def _caption(row: dict[str, Any], place: str) -> str:
    caption = row.get("caption") or ""
    if not isinstance(caption, str):
        raise InvalidValue(f"{place}: `caption` must be a text; got {caption!r:.100}.")
    return _encodable(caption, place)


def _object(text: str, place: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{place} is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise InvalidValue(f"{place} is not an object with a `caption`; got {content!r:.100}.")
    return content


def _encodable(text: str, place: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue(f"{place}: a text holds half of a character ({error.reason}).") from error
    return text


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{name} is not UTF-8 text ({error.reason}): save it as UTF-8.") from error
