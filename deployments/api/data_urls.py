"""The pictures of a JSON body: `data:` URLs become the bytes of files. No other URL is ever fetched."""

import base64
import binascii
from urllib.parse import unquote

from deployments.errors import MissingParameter
from deployments.requests.parsing import shown
from deployments.requests.schemas import JsonEditRequest, PictureReference, Upload
from model_core.errors import InvalidValue

EXAMPLE = "data:image/png;base64,…"


def take_pictures(request: JsonEditRequest) -> tuple[JsonEditRequest, Upload]:
    """Gives the request without its pictures, and these as files.

    Raises:
      InvalidValue: a picture is named in another way than by a `data:` URL, or its base64 is broken; names it.
      MissingParameter: nothing is said of a picture.
    """
    images = [_file_of(picture, f"images[{place}]") for place, picture in enumerate(request.images)]
    mask = None if request.mask is None else _file_of(request.mask, "mask")
    return request.model_copy(update={"images": [], "mask": None}), Upload(images=images, mask=mask)


def _file_of(picture: PictureReference, place: str) -> bytes:
    if picture.file_id is not None:
        raise InvalidValue(
            f"{place}.file_id is not taken, for no uploaded file can be drawn on here. Send the picture itself, as "
            f"{place}.image_url: {EXAMPLE}",
            f"{place}.file_id",
        )
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
