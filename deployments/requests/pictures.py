"""The pictures of a JSON body become the bytes of files: `data:` URLs, and files that were uploaded before.

No other URL is ever fetched.
"""

import base64
import binascii
from collections.abc import Callable
from urllib.parse import unquote

from deployments.errors import MissingParameter, NotFound
from deployments.requests.parsing import shown
from deployments.requests.schemas import JsonEditRequest, PictureReference, Upload
from model_core.errors import InvalidValue

EXAMPLE = "data:image/png;base64,…"

# The uploaded file of an id, of so many bytes at most; raises NotFound or InvalidValue.
Stored = Callable[[str, int], bytes]


def no_files(_file_id: str, _max_bytes: int) -> bytes:
    """Stands for uploaded files where there are none."""
    raise InvalidValue(f"there are no uploaded files here. Send the picture itself, as image_url: {EXAMPLE}")


def take_pictures(request: JsonEditRequest, stored: Stored, max_bytes: int) -> tuple[JsonEditRequest, Upload]:
    """Gives the request without its pictures, and these as files.

    Args:
      stored: what uploaded files are read with.
      max_bytes: of all pictures together.

    Raises:
      InvalidValue: a picture is named in another way than by a `data:` URL or a file of the caller's, its base64 is
        broken, or they are too large; names it.
      MissingParameter: nothing is said of a picture.
    """
    left = max_bytes

    def file_of(picture: PictureReference, place: str) -> bytes:
        nonlocal left
        file = _uploaded(picture.file_id, place, stored, left) if picture.file_id else _decoded(picture, place)
        left -= len(file)
        return file

    named = [(picture, f"images[{place}]") for place, picture in enumerate(request.images)]
    if twice := [place for picture, place in [*named, (request.mask, "mask")] if picture and _is_named_twice(picture)]:
        raise InvalidValue(f"{twice[0]} has an image_url and a file_id: give one of them.", f"{twice[0]}.file_id")
    images = [file_of(picture, place) for picture, place in named]
    mask = None if request.mask is None else file_of(request.mask, "mask")
    return request.model_copy(update={"images": [], "mask": None}), Upload(images=images, mask=mask)


def _is_named_twice(picture: PictureReference) -> bool:
    return bool(picture.file_id) and bool(picture.image_url)


def _uploaded(file_id: str, place: str, stored: Stored, max_bytes: int) -> bytes:
    try:
        return stored(file_id, max_bytes)
    except (NotFound, InvalidValue) as error:
        raise InvalidValue(f"{place}.file_id: {error}", f"{place}.file_id") from None


def _decoded(picture: PictureReference, place: str) -> bytes:
    name = f"{place}.image_url"
    if picture.image_url is None:
        raise MissingParameter(f"Missing required parameter: '{name}'.", name)
    head, comma, content = picture.image_url.partition(",")
    if not comma or not head.lower().startswith("data:"):
        raise InvalidValue(
            f"{name} must be a data: URL, for nothing is fetched from elsewhere: {EXAMPLE} Got {shown(head)}.", name
        )
    if not head.lower().endswith(";base64"):
        raise InvalidValue(f"{name} must hold the picture as base64: {EXAMPLE} Got {shown(head)}.", name)
    try:
        return base64.b64decode(unquote(content) if "%" in content else content, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValue(f"{name} is not base64 behind its comma.", name) from None
