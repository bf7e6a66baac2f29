"""Images: pixels become finished uint8 pictures and picture files, picture files become uint8 arrays."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, UnidentifiedImageError

from model_core.errors import InvalidValue
from model_core.pictures.file_parts import kind_of, orientation, split
from model_core.pictures.provenance import note_options

READABLE_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_READ_PIXELS = 32 * 1024 * 1024  # a file of a few KB may claim a size that fills the memory
_TURNS = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
VEIL = (236, 236, 240)  # what is not drawn yet fades into


def to_uint8(
    pixels: Float[np.ndarray, "*batch height width 3"], rounded: bool = False
) -> UInt8[np.ndarray, "*batch height width 3"]:
    """Turns pixels, 0…1 and a little beyond, into finished images: cut to 0…1, times 255, fractions dropped or rounded.

    Which of the two, the reference of each codec says; that of the first one, a notebook, drops them.
    """
    return (np.clip(pixels, 0, 1) * 255 + (0.5 if rounded else 0)).astype(np.uint8)


def to_pixels(images: UInt8[np.ndarray, "*batch height width 3"]) -> Float32[np.ndarray, "*batch height width 3"]:
    """Turns finished images into pixels in 0…1."""
    return images.astype(np.float32) / 255


def encode_png(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Turns an image into the bytes of a PNG file; the same image gives the same bytes."""
    return encode(image, "png")


def encode(
    image: UInt8[np.ndarray, "height width channels"],
    output_format: str,
    compression: int = 100,
    notes: Mapping[str, str] | None = None,
) -> bytes:
    """Turns an image into the bytes of a picture file; the same arguments give the same bytes.

    Args:
      image: with a fourth channel, alpha, for `png` and `webp` alone.
      output_format: `png`, `jpeg` or `webp`.
      compression: 0 (smallest) to 100 (best), as OpenAI's `output_compression`; PNG loses nothing and ignores it.
      notes: what the file is to say of itself, see `provenance.py`; None says nothing.
    """
    # PNG: beside zlib's usual 6, half of the time, and files 2 % larger.
    options = {
        "png": {"compress_level": 4},
        "jpeg": {"quality": max(compression, 1), "subsampling": 0},
        "webp": {"quality": compression},
    }
    buffer = io.BytesIO()
    said = {} if notes is None else note_options(output_format, notes)
    Image.fromarray(image).save(buffer, format=output_format.upper(), **options[output_format], **said)
    return buffer.getvalue()


def write_gif(path: Path, frames: Sequence[UInt8[np.ndarray, "height width 3"]], frame_ms: int) -> None:
    """Writes images of one size as a GIF that plays again and again; the last one stays a while.

    Raises:
      OSError: it cannot be written.
    """
    first, *others = [Image.fromarray(frame).quantize() for frame in frames]
    times = [frame_ms] * len(others) + [10 * frame_ms]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=times, loop=0)


def fit(
    image: UInt8[np.ndarray, "h w channels"], width: int, height: int
) -> UInt8[np.ndarray, "height width channels"]:
    """Scales an image to fit into width × height (Lanczos); what stays free takes the colour of the border it meets.

    With a fourth channel, alpha, what stays free is clear.
    """
    if image.shape[:2] == (height, width):
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    inner_width, inner_height = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    scaled = Image.fromarray(image).resize((inner_width, inner_height), Image.Resampling.LANCZOS)
    fitted = np.zeros((height, width, image.shape[2]), np.uint8)
    if image.shape[2] == 4:
        pass
    elif inner_width < width:
        fitted[:, : width // 2] = np.median(image[:, 0], axis=0)
        fitted[:, width // 2 :] = np.median(image[:, -1], axis=0)
    else:
        fitted[: height // 2] = np.median(image[0], axis=0)
        fitted[height // 2 :] = np.median(image[-1], axis=0)
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    fitted[top : top + inner_height, left : left + inner_width] = np.array(scaled)
    return fitted


def square(image: UInt8[np.ndarray, "h w *channels"], side: int) -> UInt8[np.ndarray, "side side *channels"]:
    """Cuts the largest square out of the middle of an image, and scales it (Lanczos)."""
    cut = centre_square(image)
    return np.array(Image.fromarray(cut).resize((side, side), Image.Resampling.LANCZOS))


def centre_square(image: UInt8[np.ndarray, "h w *channels"]) -> UInt8[np.ndarray, "side side *channels"]:
    """Cuts the largest square out of the middle of an image."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def veil(image: UInt8[np.ndarray, "height width 3"], drawn_rows: int) -> UInt8[np.ndarray, "height width 3"]:
    """Covers what is not drawn yet: from the last drawn row of pixels on, the picture fades softly into `VEIL`."""
    height, width = image.shape[:2]
    if drawn_rows >= height:
        return image
    veil_colour = np.array(VEIL, np.float32)
    reach = max(1, width // 8)
    last = image[max(drawn_rows - 2, 0) : drawn_rows].astype(np.float32) if drawn_rows else veil_colour[None, None]
    row = np.broadcast_to(last.mean(axis=0), (width, 3))
    padded = np.pad(row, ((reach, reach), (0, 0)), mode="edge")
    sums = np.cumsum(np.concatenate([np.zeros((1, 3), np.float32), padded]), axis=0)
    smooth = (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)  # [width, 3]
    depth = np.arange(height - drawn_rows, dtype=np.float32) / max(1, height // 4)
    fading = np.exp(-3 * depth)[:, None, None]
    veiled = image.copy()
    veiled[drawn_rows:] = (fading * smooth + (1 - fading) * veil_colour).astype(np.uint8)
    return veiled


def grid(images: Sequence[UInt8[np.ndarray, "height width 3"]], columns: int) -> UInt8[np.ndarray, "rows cols 3"]:
    """Lays images of one size out row by row; the cells left over are white.

    Raises:
      InvalidValue: there is no image, the sizes differ, or `columns` is below 1.
    """
    if columns < 1:
        raise InvalidValue(f"columns must be at least 1, got {columns}.", "columns")
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise InvalidValue(f"A grid needs images of one size, got {sorted(shapes) or 'none'}.", "images")
    (height, width, channels) = shapes.pop()
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    cells = np.full((rows * columns, height, width, channels), 255, np.uint8)
    cells[: len(images)] = images
    cells = cells.reshape(rows, columns, height, width, channels)
    return cells.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def read_image(
    source: Path | bytes,
    name: str | None = None,
    *,
    formats: tuple[str, ...] = READABLE_FORMATS,
    max_pixels: int = MAX_READ_PIXELS,
) -> UInt8[np.ndarray, "height width 3"]:
    """Reads a picture file, or its bytes, upright and without transparency (laid on white).

    Args:
      name: what to call it in an error; None is the file's name.
      formats: those that are read, as Pillow names them.
      max_pixels: larger pictures are refused by their header.

    Raises:
      InvalidValue: not such a file, broken, or too large.
      OSError: the file cannot be opened.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    name = name or ("The image" if isinstance(source, bytes) else source.name)
    return _on_white(_read_upright(data, name, "image", max_pixels, formats))


def read_with_alpha(
    data: bytes, param: str, max_pixels: int
) -> tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width"] | None]:
    """Reads the bytes of a PNG, JPEG or WebP file, upright: the picture laid on white, and its alpha if it has any.

    Args:
      param: the name of the upload in error messages.
      max_pixels: larger pictures are refused by their header.

    Raises:
      InvalidValue: not such a file, broken, or too large.
    """
    upright = _read_upright(data, param, param, max_pixels)
    alpha = np.array(upright.getchannel("A")) if upright.info["has_alpha"] else None
    return _on_white(upright), alpha


def _read_upright(
    data: bytes, name: str, param: str, max_pixels: int, formats: tuple[str, ...] = READABLE_FORMATS
) -> Image.Image:
    """The picture as RGBA; `info["has_alpha"]` says whether the file had an alpha channel.

    Decoders of foreign bytes raise what no list of exceptions foresees: all of it is the file's fault.
    """
    taken, kind = ", ".join(formats), kind_of(data)
    if not data:
        raise InvalidValue(f"{name} is none of {taken}: it is empty.", param)
    if kind not in (None, *formats):
        raise InvalidValue(f"{name} is a file of the kind {kind}, which is not read; taken are {taken}.", param)
    try:
        pixels, exif = split(data)
        with Image.open(io.BytesIO(pixels), formats=formats) as image:
            if image.width * image.height > max_pixels:
                raise InvalidValue(
                    f"{name} has {image.width}×{image.height} pixels; at most {max_pixels} are read.", param
                )
            has_alpha = image.has_transparency_data
            upright = _to_rgba(image)
    except InvalidValue:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidValue(f"{name} is too large; at most {max_pixels} pixels are read.", param) from error
    except Exception as error:
        if kind is None:
            raise InvalidValue(f"{name} is none of {taken}.", param) from error
        no_header = isinstance(error, UnidentifiedImageError)
        reason = "its header is broken" if no_header else ascii(str(error))[1:-1][:120]
        raise InvalidValue(f"{name} is a {kind} that cannot be read: {reason}.", param) from error
    turn = _turn(data, exif, formats)
    upright = upright if turn is None else upright.transpose(turn)
    upright.info["has_alpha"] = has_alpha
    return upright


def _turn(data: bytes, exif: bytes, formats: tuple[str, ...]) -> Image.Transpose | None:
    """What sets the picture upright, as its metadata says; None where they say nothing or cannot be read."""
    said = orientation(exif)
    if said is None:
        try:
            with Image.open(io.BytesIO(data), formats=formats) as image:
                said = image.getexif().get(0x0112)  # the decoder looks into XMP as well
        except Exception:  # metadata is not worth a picture
            return None
    return _TURNS.get(said) if isinstance(said, int) else None


def _to_rgba(image: Image.Image) -> Image.Image:
    """The pixels in 8 bits each, with alpha."""
    if image.mode == "F":
        raise ValueError("its pixels are numbers with fractions, of which nothing says what is white")
    if not image.mode.startswith("I"):
        return image.convert("RGBA")
    grey = np.array(image)  # of 16 bits; Pillow would cut it at 255
    high = Image.fromarray((grey.clip(0, 0xFFFF) // 257).astype(np.uint8))
    alpha = Image.fromarray(np.where(grey == image.info.get("transparency", -1), 0, 255).astype(np.uint8))
    return Image.merge("RGBA", (high, high, high, alpha))


def _on_white(picture: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    white = Image.new("RGBA", picture.size, "white")
    return np.array(Image.alpha_composite(white, picture).convert("RGB"))
