"""Picture files without what they say of themselves: what is left is what their pixels need.

Metadata comes from anywhere and is often broken, and a decoder that trips over it gives no pixels.
"""

import struct
import zlib
from collections.abc import Callable

PNG, _EXIF = b"\x89PNG\r\n\x1a\n", b"Exif\0\0"
_ORIENTATION = 0x0112  # the EXIF tag
_JPEG_APP0, _JPEG_APP14, _JPEG_APP15, _JPEG_COMMENT, _JPEG_SCAN = 0xE0, 0xEE, 0xEF, 0xFE, 0xDA
_JPEG_ALONE = (0x00, 0x01, *range(0xD0, 0xD9))  # markers without a length
_WEBP_METADATA = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}  # and the bit of each in the VP8X chunk
_STARTS = (
    (PNG, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\1\0", "ICO"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"BM", "BMP"),
)


def kind_of(data: bytes) -> str | None:
    """What a file is by its first bytes, such as `PNG` or `HEIC`; None where they are of no kind that is known here."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = data[8 : max(12, min(int.from_bytes(data[:4]), 256))]
        for brand, kind in ((b"avi", "AVIF"), (b"he", "HEIC"), (b"mif1", "HEIC"), (b"msf1", "HEIC")):
            if any(brands[at : at + 4].startswith(brand) for at in range(0, len(brands), 4)):
                return kind
        return "video (MP4 or the like)"
    if data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")[:5].lower() in (b"<svg ", b"<?xml"):
        return "SVG or other XML"
    return next((kind for start, kind in _STARTS if data.startswith(start)), None)


def split(data: bytes) -> tuple[bytes, bytes]:
    """The file without metadata, and its EXIF block; a file that is no PNG, JPEG or WebP comes back as it is.

    Raises:
      ValueError: it is cut off, or a length in it is wrong; says where.
    """
    parts: dict[str | None, Callable[[bytes], tuple[bytes, bytes]]] = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp}
    kind = kind_of(data)
    if kind == "GIF" and not data.rstrip(b"\0\r\n").endswith(b";"):
        raise ValueError("the file is cut off: its end mark is missing")
    return parts[kind](data) if kind in parts else (data, b"")


def orientation(exif: bytes) -> int | None:
    """What the first directory of an EXIF block says of the orientation, 1…8; None where it says nothing of use.

    A decoder would read all of the block, and stop at the first thing in it that is odd.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return None
    at = struct.unpack(f"{order}I", exif[4:8])[0]
    count = struct.unpack(f"{order}H", exif[at : at + 2])[0] if at + 2 <= len(exif) else 0
    for start in range(at + 2, min(at + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, _, short = struct.unpack(f"{order}HHIH", exif[start : start + 10])
        if tag == _ORIENTATION:
            value = short if kind == 3 else struct.unpack(f"{order}I", exif[start + 8 : start + 12])[0]
            return value if kind in (3, 4) and 1 <= value <= 8 else None
    return None


def _png(data: bytes) -> tuple[bytes, bytes]:
    kept, exif, at, depth, color = [PNG], b"", len(PNG), 8, 2
    wanted = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
    names = set()
    while b"IEND" not in names:
        if at + 8 > len(data):
            raise ValueError("the file is cut off: its IEND chunk is missing")
        end, name = at + 12 + int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        content, checksum = data[at + 8 : end - 4], data[end - 4 : end]
        if end > len(data):
            what = f"its {_shown(name)} chunk" + ("" if name in wanted else ", which is metadata")
            raise ValueError(f"the file ends within {what}: it is cut off, or that chunk's length is wrong")
        if name == b"IHDR" and len(content) == 13:
            depth, color = content[8], content[9]
        elif name == b"IDAT" and color == 3 and b"PLTE" not in names:
            raise ValueError("its pixels are numbers of colours in a palette, and it has no palette")
        elif name == b"PLTE" and (not content or len(content) % 3):
            raise ValueError(f"its palette has {len(content)} bytes, which is no multiple of 3 above 0")
        elif name == b"tRNS" and color in (0, 2) and zlib.crc32(name + content).to_bytes(4) == checksum:
            content = _clear_color(content, depth, color)
            checksum = zlib.crc32(name + content).to_bytes(4)
        elif name == b"eXIf":
            exif = content
        if name in wanted:
            kept.append(len(content).to_bytes(4) + name + content + checksum)
        names.add(name)
        at = end
    return b"".join(kept), exif


def _clear_color(content: bytes, depth: int, color: int) -> bytes:
    """The transparent colour as the decoder's pixels say it: of 8 bits, but for grey of 16."""
    values = [int.from_bytes(content[i : i + 2]) & (2**depth - 1) for i in range(0, len(content), 2)]
    if color == 2 and depth == 16:
        values = [value >> 8 for value in values]
    elif color == 0 and depth in (2, 4):
        values = [value * 255 // (2**depth - 1) for value in values]
    return b"".join(value.to_bytes(2) for value in values)


def _jpeg(data: bytes) -> tuple[bytes, bytes]:
    kept, exif, at = [data[:2]], b"", 2
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            raise ValueError("the file is cut off before its pixels")
        marker = data[at + 1]
        if marker == 0xFF or marker in _JPEG_ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _JPEG_SCAN:
            return b"".join([*kept, data[at:]]), exif
        end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
        is_metadata = _JPEG_APP0 <= marker <= _JPEG_APP15 or marker == _JPEG_COMMENT
        if end > len(data):
            what = "its metadata" if is_metadata else "its tables"
            raise ValueError(f"the file ends within {what}: it is cut off, or a length there is wrong")
        content = data[at + 4 : end]
        tells_colors = (marker == _JPEG_APP0 and content[:5] == b"JFIF\0" and len(content) >= 14) or (
            marker == _JPEG_APP14 and content[:5] == b"Adobe" and len(content) >= 12
        )
        if not is_metadata or tells_colors:
            kept.append(data[at:end])
        elif content[:6] == _EXIF:
            exif = exif or content[6:]
        at = end


def _webp(data: bytes) -> tuple[bytes, bytes]:
    whole = int.from_bytes(data[4:8], "little") + 8
    if whole > len(data):
        raise ValueError(f"the file is cut off: it has {len(data)} bytes of {whole}")
    kept, exif, at = [], b"", 12
    while at + 8 <= whole:
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        chunk = data[at : min(end, whole)]
        if name == b"VP8X" and length:
            chunk = chunk[:8] + bytes([chunk[8] & ~sum(_WEBP_METADATA.values())]) + chunk[9:]
        if name not in _WEBP_METADATA:
            kept.append(chunk)
        elif name == b"EXIF":
            exif = chunk[8:].removeprefix(_EXIF)
        at = end
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body, exif


def _shown(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")
