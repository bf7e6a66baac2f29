"""Reading a request's body: bytes become a JSON object, or an error that says what is wrong with them."""

from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException

from deployments.requests.parsing import json_object


async def read_json_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """Reads the body as a JSON object.

    Raises:
      HTTPException: 413, it is too large; 415, it is said not to be plain JSON.
      InvalidValue: it is not UTF-8, not JSON, or not an object.
    """
    check_media_type(request, "application/json")
    return json_object(await _read(request, max_bytes))


def check_media_type(request: Request, *expected: str) -> str:
    """Refuses a body that is said to be something else, or to be compressed; gives the kind that it is.

    Raises:
      HTTPException: 415.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type not in expected:
        said = ascii(media_type[:60]) if media_type else "nothing"
        raise HTTPException(415, f"The body must be {' or '.join(expected)}: say so in Content-Type (it says {said}).")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "The body must not be compressed: leave out Content-Encoding.")
    return media_type


async def _read(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise HTTPException(413, f"The body must have at most {max_bytes} bytes.")
    return bytes(body)
