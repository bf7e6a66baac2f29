"""Reading a multipart body: its texts and its files, each once and within limits."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import Message

from deployments.api.body import check_media_type
from deployments.config import Limits
from deployments.errors import MissingParameter, UnknownParameter
from deployments.requests.parsing import plain
from deployments.requests.schemas import MAX_IMAGES, Upload
from model_core.errors import DalleServeError, InvalidValue

MAX_TEXTS = 64
_IMAGE = re.compile(r"image(\[[0-9]{0,2}\])?", re.ASCII)  # OpenAI's clients send a list as image[], others repeat image


@dataclass(slots=True)
class _Form:
    texts: dict[str, str] = field(default_factory=dict)
    images: list[bytes] = field(default_factory=list)
    mask: bytes | None = None
    empty: list[str] = field(default_factory=list)


async def read_form(request: Request, limits: Limits, *, may_mask: bool) -> tuple[dict[str, str], Upload]:
    """Reads the body as a form with at least one image.

    Args:
      may_mask: whether there may be a mask beside the images.

    Raises:
      HTTPException: 413, it is too large; 415, it is no form.
      InvalidValue: it is broken, or a part is not what it should be.
      MissingParameter: there is no image.
      UnknownParameter: a file that the endpoint does not know.
    """
    form = _Form()
    async with parts_of(request, limits.max_upload_bytes, MAX_IMAGES + 1, limits.max_body_bytes) as parts:
        for name, part in parts:
            await _add(form, name, part, may_mask)
    if not form.images:
        empty = " The file given has no bytes." if any(map(_IMAGE.fullmatch, form.empty)) else ""
        raise MissingParameter(f"Missing required parameter: 'image'.{empty}", "image")
    if len(form.images) > MAX_IMAGES:
        raise InvalidValue(f"image must be at most {MAX_IMAGES} files.", "image")
    return form.texts, Upload(images=form.images, mask=form.mask, empty=tuple(form.empty))


@asynccontextmanager
async def parts_of(
    request: Request, max_bytes: int, max_files: int, max_text_bytes: int
) -> AsyncIterator[list[tuple[str, UploadFile | str]]]:
    """The named parts of a form, its files open until the block ends.

    Raises:
      HTTPException: 413, it is too large; 415, it is no form.
      InvalidValue: it is broken.
    """
    check_media_type(request, "multipart/form-data")
    bounded = Request(request.scope, _Bounded(request, max_bytes).receive)
    parser = _WholeForm(
        request.headers, bounded.stream(), max_files=max_files, max_fields=MAX_TEXTS, max_part_size=max_text_bytes
    )
    try:
        parts = await parser.parse()
        try:
            yield parts.multi_items()
        finally:
            await parts.close()
    except MultiPartException as error:
        raise InvalidValue(f"The form cannot be read: {plain(error.message)}") from None
    except (DalleServeError, HTTPException, ClientDisconnect, OSError):  # OSError: of the disk that large files wait on
        raise
    except Exception as error:  # a parser of foreign bytes raises anything
        raise InvalidValue(f"The form cannot be read: {plain(error)}") from error


async def _add(form: _Form, name: str, part: UploadFile | str, may_mask: bool) -> None:
    is_image, is_mask = _IMAGE.fullmatch(name) is not None, may_mask and name == "mask"
    if isinstance(part, str):
        if is_image or is_mask:
            raise InvalidValue(f"{plain(name)} must be a file.", plain(name))
        if name in form.texts:
            raise InvalidValue(f"{plain(name)} is given twice.", plain(name))
        form.texts[name] = part
        return
    content = await part.read()
    if not content:  # without a name, it is how a browser says that no file was chosen
        if part.filename:
            form.empty.append(plain(name))
        return
    if not is_image and not is_mask:
        raise UnknownParameter(f"No file is expected under the name {plain(name)}.", plain(name))
    if is_image:
        form.images.append(content)
    elif form.mask is not None:
        raise InvalidValue("mask is given twice.", "mask")
    else:
        form.mask = content


class _WholeForm(MultiPartParser):
    """Takes a form only with its closing boundary, for without it the last part is lost; and only texts in UTF-8."""

    _is_whole = False

    def on_part_end(self) -> None:
        part = self._current_part
        try:
            bytes(part.data).decode()
        except UnicodeDecodeError as error:
            name = plain(part.field_name)
            raise InvalidValue(f"{name} must be text in UTF-8; byte {error.start} is not.", name) from None
        self._charset = "utf-8"  # whatever the header says
        super().on_part_end()

    def on_end(self) -> None:
        self._is_whole = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._is_whole:
            await form.close()
            raise MultiPartException("its closing boundary is missing; a part may be lost.")
        return form


class _Bounded:
    """Passes a body on until it is too long."""

    def __init__(self, request: Request, max_bytes: int):
        self._receive = request.receive
        self._max_bytes = max_bytes
        self._left = max_bytes

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, f"The body must have at most {self._max_bytes} bytes.")
        return message
