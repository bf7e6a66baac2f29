"""Picture files as the world makes them: every mode, odd metadata, other formats, cut files."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model_core.errors import InvalidValue
from model_core.pictures.file_parts import split
from model_core.pictures.images import read_image, read_with_alpha
from model_core.pictures.provenance import read_notes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(depth: int, color: int, row: bytes, width: int = 2, before: bytes = b"", after: bytes = b"") -> bytes:
    """One row of pixels, chunks before and after them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, color, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return SIGNATURE + header + before + pixels + after + chunk(b"IEND", b"")


def saved(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def exif(entries: list[tuple[int, int, int, bytes]]) -> bytes:
    """A big-endian EXIF block of (tag, type, count, 4 bytes of value)."""
    packed = b"".join(struct.pack(">HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + packed + bytes(4)


SIDEWAYS = (0x0112, 3, 1, b"\0\6\0\0")


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (png(1, GREY, b"\x40"), [(0, 0, 0, 255), (255, 255, 255, 255)]),
        (png(1, GREY, b"\x40", before=chunk(b"tRNS", b"\0\1")), [(0, 0, 0, 255), (255, 255, 255, 0)]),
        (png(2, GREY, b"\x10"), [(0, 0, 0, 255), (85, 85, 85, 255)]),
        (png(2, GREY, b"\x10", before=chunk(b"tRNS", b"\0\1")), [(0, 0, 0, 255), (85, 85, 85, 0)]),
        (png(4, GREY, b"\x3f", before=chunk(b"tRNS", b"\0\3")), [(51, 51, 51, 0), (255, 255, 255, 255)]),
        (png(8, GREY, b"\x01\x05", before=chunk(b"tRNS", b"\0\5")), [(1, 1, 1, 255), (5, 5, 5, 0)]),
        (png(16, GREY, b"\x80\x00\x00\x80"), [(128, 128, 128, 255), (0, 0, 0, 255)]),
        (
            png(16, GREY, b"\x80\x00\x80\x01", before=chunk(b"tRNS", b"\x80\x01")),
            [(128, 128, 128, 255), (128, 128, 128, 0)],
        ),
        (png(8, GREY_ALPHA, b"\x07\x80\x09\xff"), [(7, 7, 7, 128), (9, 9, 9, 255)]),
        (png(16, GREY_ALPHA, b"\x80\0\x40\0\x09\0\xff\0"), [(128, 128, 128, 64), (9, 9, 9, 255)]),
        (png(8, RGB, b"\1\2\3\4\5\6", before=chunk(b"tRNS", b"\0\4\0\5\0\6")), [(1, 2, 3, 255), (4, 5, 6, 0)]),
        (png(16, RGB, b"\1\0\2\0\3\0\4\0\5\0\6\0"), [(1, 2, 3, 255), (4, 5, 6, 255)]),
        (
            png(16, RGB, b"\1\0\2\0\3\0\4\0\5\0\6\0", before=chunk(b"tRNS", b"\4\0\5\0\6\0")),
            [(1, 2, 3, 255), (4, 5, 6, 0)],
        ),
        (png(8, RGBA, b"\1\2\3\4\5\6\7\x08"), [(1, 2, 3, 4), (5, 6, 7, 8)]),
        (png(16, RGBA, b"\x01\0\x02\0\x03\0\x04\0", width=1), [(1, 2, 3, 4)]),
        (png(2, PALETTE, b"\x10", before=chunk(b"PLTE", b"\1\2\3\4\5\6")), [(1, 2, 3, 255), (4, 5, 6, 255)]),
        (
            png(8, PALETTE, b"\0\1", before=chunk(b"PLTE", b"\1\2\3\4\5\6") + chunk(b"tRNS", b"\x80")),
            [(1, 2, 3, 128), (4, 5, 6, 255)],
        ),
        (saved(Image.new("L", (2, 1), 77), "JPEG"), [(77, 77, 77, 255)] * 2),
        (saved(Image.new("RGB", (2, 1), (200, 10, 30)), "JPEG", quality=100), [(200, 10, 30, 255)] * 2),
        (saved(Image.new("YCbCr", (2, 1), (100, 128, 128)), "JPEG"), [(100, 100, 100, 255)] * 2),
        (saved(Image.new("CMYK", (2, 1), (0, 255, 255, 0)), "JPEG"), [(255, 0, 0, 255)] * 2),
        (saved(Image.new("RGB", (2, 1), (200, 10, 30)), "WEBP", lossless=True), [(200, 10, 30, 255)] * 2),
        (saved(Image.new("RGBA", (2, 1), (200, 10, 30, 99)), "WEBP", lossless=True), [(200, 10, 30, 99)] * 2),
        (saved(Image.new("PA", (2, 1)).convert("LA"), "PNG"), [(0, 0, 0, 0)] * 2),
    ],
)
def test_every_mode_gives_its_pixels(data: bytes, pixels: list[tuple[int, ...]]):
    image, alpha = read_with_alpha(data, "image", 100)
    expected = np.array(pixels, float)
    if alpha is None:
        assert (expected[:, 3] == 255).all()
    else:
        np.testing.assert_array_equal(alpha[0], expected[:, 3])
    on_white = 255 + (expected[:, :3] - 255) * expected[:, 3:] / 255
    np.testing.assert_allclose(image[0], on_white, atol=1.01)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"])
def test_a_mode_is_taken_whole_or_refused(mode: str, monkeypatch: pytest.MonkeyPatch):
    """Whatever mode a decoder comes to give: white is white, black is black, and what lies between stays there."""
    levels = {"1": [0, 1], "I": [0, 32768, 65535], "I;16": [0, 32768, 65535]}.get(mode, [0, 128, 255])
    whole = {"1": 255, "I": 1 / 257, "I;16": 1 / 257}.get(mode, 1)
    for level in levels:
        if mode in ("P", "PA"):
            image = Image.new("P", (1, 1), 1)
            image.putpalette([9, 9, 9, level, level, level])
            image = image.convert(mode)
        elif mode == "1":
            image = Image.new("L", (1, 1), level * 255).convert("1")
        elif mode in ("I", "I;16", "F"):
            image = Image.new(mode, (1, 1), level)
        else:
            image = Image.new("RGB", (1, 1), (level,) * 3).convert(mode)
        monkeypatch.setattr(Image, "open", lambda *_, image=image, **__: image.copy())
        if mode == "F":
            with pytest.raises(InvalidValue, match="fractions"):
                read_image(png(8, GREY, b"\0\0"))
        else:
            np.testing.assert_allclose(read_image(png(8, GREY, b"\0\0"))[0, 0], level * whole, atol=1)


@pytest.mark.parametrize(
    "entries",
    [
        [SIDEWAYS, (0x0100, 8, 1, b"\xff\xff\0\0")],  # a negative number where none may be
        [SIDEWAYS, (0x011A, 5, 1, b"\xff\xff\xff\xff")],  # its value lies beyond the block
        [SIDEWAYS, (0x0131, 2, 2**31, bytes(4))],
        [SIDEWAYS, (0x8769, 4, 1, b"\xff\xff\xff\xff")],
        [SIDEWAYS, (0x8769, 4, 1, b"\0\0\0\x08")],  # an IFD that holds itself
        [SIDEWAYS, (0x0100, 99, 1, bytes(4))],
    ],
)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_odd_exif_keeps_neither_the_pixels_nor_the_orientation_away(entries, file_format: str):
    data = saved(Image.new("RGB", (4, 2), "red"), file_format, exif=b"Exif\0\0" + exif(entries))
    image = read_image(data)
    assert image.shape == (4, 2, 3)
    np.testing.assert_allclose(image[0, 0], (255, 0, 0), atol=3)


@pytest.mark.parametrize(
    "entry",
    [(0x0112, 2, 4, b"six\0"), (0x0112, 3, 1, b"\0\x63\0\0"), (0x0112, 8, 1, b"\xff\xff\0\0"), (0x0112, 5, 1, b"zzzz")],
)
def test_an_orientation_that_is_none_turns_nothing(entry):
    data = saved(Image.new("RGB", (4, 2), "red"), "JPEG", exif=b"Exif\0\0" + exif([entry]))
    assert read_image(data).shape == (2, 4, 3)


@pytest.mark.parametrize(
    "metadata",
    [
        chunk(b"iCCP", b"garbage"),
        chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 2_000_000)),
        chunk(b"zTXt", b"Comment\0\0not compressed"),
        chunk(b"iTXt", b"\0"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0not compressed"),
        chunk(b"pHYs", b"1"),
        chunk(b"gAMA", b""),
        chunk(b"sRGB", b""),
        chunk(b"cHRM", b"12"),
        chunk(b"tIME", b""),
        chunk(b"acTL", b"\0"),
        chunk(b"fcTL", b"\0" * 26),
        chunk(b"tEXt", b"a\0b")[:-4] + b"nope",  # the wrong checksum
    ],
)
def test_metadata_that_cannot_be_read_is_dropped_and_the_orientation_stays(metadata: bytes):
    turn = chunk(b"eXIf", exif([SIDEWAYS]))
    for data in (
        png(8, GREY, b"\1\5", before=turn + metadata),
        png(8, GREY, b"\1\5", before=metadata + turn),
        png(8, GREY, b"\1\5", before=turn, after=metadata),
    ):
        np.testing.assert_array_equal(read_image(data)[:, 0, 0], [1, 5])


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe1\x00\x10Exif\0\0MM\0*junk",
        b"\xff\xe0\x00\x07JFIF\0",
        b"\xff\xe2\x00\x10ICC_PROFILE\0\1\2",
        b"\xff\xe2\x00\x10MPF\0MM\0*\xff\xff\xff\xff\0\0",
        b"\xff\xed\x00\x20Photoshop 3.0\x008BIM\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xff\xee\x00\x08Adobe\0",
        b"\xff\xfe\x00\x02",
        b"\xff\xe1\x00\x01",
        b"\xff\xe1\x00\x02between the segments",
    ],
)
def test_odd_segments_of_a_jpeg_are_dropped(segment: bytes):
    data = saved(Image.new("RGB", (4, 2), "red"), "JPEG")
    image = read_image(data[:2] + segment + data[2:])
    assert image.shape == (2, 4, 3)
    np.testing.assert_allclose(image[0, 0], (255, 0, 0), atol=3)


def test_odd_chunks_of_a_webp_are_dropped():
    data = saved(Image.new("RGBA", (4, 2), (255, 0, 0, 9)), "WEBP", lossless=True, exif=exif([SIDEWAYS]), xmp=b"<x")
    broken = data.replace(b"XMP ", b"ICCP")
    for each in (data, broken):
        assert read_with_alpha(each, "image", 100)[0].shape == (4, 2, 3)
        assert b"<x" not in split(each)[0]


def test_a_palette_that_is_not_there_is_named():
    with pytest.raises(InvalidValue, match="it has no palette") as error:
        read_with_alpha(png(8, PALETTE, b"\0\1"), "mask", 100)
    assert error.value.param == "mask"
    with pytest.raises(InvalidValue, match="palette has 4 bytes"):
        read_image(png(8, PALETTE, b"\0\1", before=chunk(b"PLTE", b"abcd")))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "video"),
        (saved(Image.new("RGB", (2, 2)), "GIF"), "GIF"),
        (saved(Image.new("RGB", (2, 2)), "TIFF"), "TIFF"),
        (saved(Image.new("RGB", (2, 2)), "BMP"), "BMP"),
        (b"\xff\x0aabc", "JPEG XL"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_a_format_that_is_not_read_is_named_with_those_that_are(data: bytes, kind: str):
    with pytest.raises(InvalidValue, match=f"kind {kind}.*taken are PNG, JPEG, WEBP") as error:
        read_with_alpha(data, "image", 100)
    assert error.value.param == "image"


def pictures() -> list[bytes]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    files = [saved(noise, each) for each in ("PNG", "JPEG", "WEBP")]
    return [*files, saved(noise, "JPEG", progressive=True), saved(noise, "WEBP", lossless=True)]


@pytest.mark.parametrize("data", pictures(), ids=["png", "jpeg", "webp", "progressive jpeg", "lossless webp"])
def test_a_cut_picture_is_refused_wherever_it_is_cut(data: bytes):
    read_image(data)
    for end in range(0, len(data), 1 + len(data) // 200):
        with pytest.raises(InvalidValue):
            read_image(data[:end])
    for end in range(len(data) - 14, len(data)):
        with pytest.raises(InvalidValue):
            read_image(data[:end])


def test_a_file_cut_within_metadata_says_so():
    data = png(8, GREY, b"\1\5", before=chunk(b"tEXt", b"Comment\0hello"))
    with pytest.raises(InvalidValue, match="tEXt chunk, which is metadata"):
        read_image(data[: data.index(b"hello") + 2])
    photo = saved(Image.new("RGB", (4, 2)), "JPEG", exif=b"Exif\0\0" + exif([SIDEWAYS]))
    with pytest.raises(InvalidValue, match="within its metadata"):
        read_image(photo[: photo.index(b"Exif") + 9])
    with pytest.raises(InvalidValue, match="it is empty"):
        read_image(b"")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("said", [b"not JSON", b"[1]", b'{"seed": 7}', b'{"a": ' + b"9" * 5000 + b"}"])
def test_notes_that_cannot_be_read_are_none(file_format: str, said: bytes):
    described = Image.Exif()
    described[0x010E] = said.decode()
    assert read_notes(saved(Image.new("RGB", (2, 2)), file_format, exif=described.tobytes())) == {}
    assert read_notes(b"no picture") == read_notes(pictures()[0][:30]) == {}
