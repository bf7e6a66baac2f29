"""Draws over HTTP, as any client of the service would.

Knows nothing of what is behind the URL.
"""

import base64
from dataclasses import dataclass
from typing import Any

import httpx

from deployments.errors import RequestFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnImage:
    """An image as a file: the bytes of a PNG, the seed that draws it again, and its score or None."""

    png: bytes
    seed: int
    score: float | None


def draw(url: str, fields: dict[str, Any], timeout_s: float = 600) -> list[DrawnImage]:
    """Asks the service at `url` for images, best first.

    Args:
      fields: of `POST /v1/images/generations`; None means "not given".

    Raises:
      RequestFailed: it says what the service said.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        reply = httpx.post(f"{url.rstrip('/')}/v1/images/generations", json=given, timeout=timeout_s)
        body = reply.json()
        if reply.is_error:
            raise RequestFailed(f"The service refused: {body['error']['message']}")
        data = body["data"]
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise RequestFailed(f"No answer from {url}: {error}. Is the service running there?") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RequestFailed(f"{url} answered, but not as this service does.") from error
    return [
        DrawnImage(png=base64.b64decode(entry["b64_json"]), seed=entry["seed"], score=entry["clip_score"])
        for entry in data
    ]
