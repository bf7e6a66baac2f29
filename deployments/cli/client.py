"""Draws over HTTP, as any client of the service would: streamed, so that it can tell how far the drawing is."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from deployments.errors import RequestFailed
from deployments.host import http_client, proxy_of

BUSY = {429, 503}
PREVIEWS = 3  # of each image: they tell how far it is
WAIT_S = 5  # where a busy service does not say how long


class ServiceBusy(RequestFailed):
    """The service could not take the request all the time that there was for it."""

    is_temporary = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnImage:
    """An image as a file: the bytes of a PNG, the seed that draws it again, and its score or None."""

    png: bytes
    seed: int
    score: float | None


def draw(
    url: str,
    fields: dict[str, Any],
    *,
    timeout_s: float = 600,
    api_key: str | None = None,
    on_progress: Callable[[float, float], object] = lambda drawn, total: None,
    on_wait: Callable[[str], object] = lambda words: None,
    on_warning: Callable[[str], object] = lambda words: None,
) -> list[DrawnImage]:
    """Asks the service at `url` for images, best first; comes back where it is busy, when it says so.

    Args:
      fields: of `POST /v1/images/generations`, or with `images` of `/v1/images/edits`; None means "not given".
      timeout_s: for all of it, waiting included.
      on_progress: told (images drawn so far, in fractions, of all that are shown while they are drawn).
      on_wait: told what is being waited for.
      on_warning: told what the service warns of.

    Raises:
      ServiceBusy: it was busy until `timeout_s` was over.
      RequestFailed: it says what the service said.
    """
    deadline = time.monotonic() + timeout_s
    given = {name: value for name, value in fields.items() if value is not None}
    body = given | {"stream": True, "stream_multiple": True, "partial_images": PREVIEWS}
    path = "/v1/images/edits" if "images" in given else "/v1/images/generations"
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with http_client(url.rstrip("/"), headers=headers, timeout=timeout_s) as http:
            while True:
                with http.stream("POST", path, json=body) as reply:
                    if not reply.is_error:
                        return _images(reply, given.get("n", 1), on_progress, on_warning)
                    refusal, after = _refusal(reply), reply.headers.get("retry-after", "")
                wait_s = max(1, int(after)) if after.isdecimal() else WAIT_S
                if reply.status_code not in BUSY:
                    raise RequestFailed(f"The service refused: {refusal}")
                if time.monotonic() + wait_s > deadline:
                    raise ServiceBusy(refusal)
                for left_s in range(wait_s, 0, -1):
                    on_wait(f"the service is busy, trying again in {left_s} s")
                    time.sleep(1)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        through = f" (through the proxy {proxy})" if (proxy := proxy_of(url)) else ""
        raise RequestFailed(f"No answer from {url}{through}: {error}. Is the service running there?") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RequestFailed(f"{url} answered, but not as this service does.") from error


def _images(
    reply: httpx.Response,
    num_images: int,
    on_progress: Callable[[float, float], object],
    on_warning: Callable[[str], object],
) -> list[DrawnImage]:
    """Follows the stream to its end."""
    shares: dict[int, float] = {}
    images = []
    for event in _events(reply):
        if error := event.get("error"):
            raise RequestFailed(f"The service failed: {error['message']}")
        if event["type"].endswith(".partial_image"):
            shares[event["seed"]] = event["progress"]
            on_progress(sum(shares.values()), num_images)
        elif event["type"].endswith(".completed"):
            png = base64.b64decode(event["b64_json"])
            if not images and (warning := event.get("warning")):
                on_warning(warning)
            images.append(DrawnImage(png=png, seed=event["seed"], score=event["clip_score"]))
    if not images:
        raise RequestFailed("The service stopped in the middle of drawing. Try again.")
    on_progress(num_images, num_images)
    return images


def _events(reply: httpx.Response) -> Iterator[dict[str, Any]]:
    """The server-sent events; the service writes each one's data on one line."""
    for line in reply.iter_lines():
        name, _, data = line.partition(":")
        if name == "data" and data.strip() != "[DONE]":
            yield json.loads(data)


def _refusal(reply: httpx.Response) -> str:
    reply.read()
    try:
        return reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"{reply.status_code} {reply.reason_phrase}"
