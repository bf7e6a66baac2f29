"""Images: pixels become finished uint8 pictures and PNG bytes, picture files become uint8 arrays.

Knows nothing of models or of HTTP.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from model_core.errors import InvalidValue

READABLE_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_READ_PIXELS = 32 * 1024 * 1024  # a file of a few KB may claim a size that fills the memory


def to_uint8(pixels: Float[np.ndarray, "*batch height width 3"]) -> UInt8[np.ndarray, "*batch height width 3"]:
    """Turns pixels, 0…1 and a little beyond, into finished images: cut to 0…1, times 255, fractions dropped.

    Fractions are dropped rather than rounded because the reference's notebook does so.
    """
    return (np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def encode_png(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Turns an image into the bytes of a PNG file; the same image gives the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


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


def read_image(source: Path | bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Reads a PNG, JPEG or WebP file, or its bytes, upright and without transparency (laid on white).

    Raises:
      InvalidValue: not such a file, broken, or larger than `MAX_READ_PIXELS`; the header alone is read to find out.
      OSError: the file cannot be opened.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    name = "The image" if isinstance(source, bytes) else f"{source.name}"
    try:
        with Image.open(io.BytesIO(data), formats=READABLE_FORMATS) as image:
            if image.width * image.height > MAX_READ_PIXELS:
                raise InvalidValue(
                    f"{name} has {image.width}×{image.height} pixels; at most {MAX_READ_PIXELS} are read.", "image"
                )
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except InvalidValue:
        raise
    except UnidentifiedImageError as error:
        raise InvalidValue(f"{name} is none of {', '.join(READABLE_FORMATS)}.", "image") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidValue(f"{name} cannot be read: it is broken or too large.", "image") from error
    white = Image.new("RGBA", upright.size, "white")
    return np.array(Image.alpha_composite(white, upright).convert("RGB"))
