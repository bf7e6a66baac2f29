"""The replies of the gateway: what Python callers get, and what goes over the wire.

Over the wire an image's bytes become `b64_json`, a `url`, or both.
"""

import base64
from collections.abc import Callable
from typing import Any

from deployments.errors import UrlsUnavailable

Event = dict[str, Any]
Publish = Callable[[bytes], str]  # a file becomes a URL


def usage(text_tokens: int, image_tokens: int, output_tokens: int, unread_tokens: int = 0) -> dict[str, Any]:
    """The `usage` of a reply; text tokens that were not read count nowhere, and are told where there are any."""
    unread = {"unread_text_tokens": unread_tokens} if unread_tokens else {}
    return {
        "input_tokens": text_tokens + image_tokens,
        "input_tokens_details": {"text_tokens": text_tokens, "image_tokens": image_tokens, **unread},
        "output_tokens": output_tokens,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": output_tokens},
        "total_tokens": text_tokens + image_tokens + output_tokens,
    }


def completed_events(reply: dict[str, Any]) -> list[Event]:
    """A reply as the last events of a stream. The first carries its usage, the others none, so that sums are right."""
    everywhere = {name: value for name, value in reply.items() if name not in ("created", "data", "usage")}
    return [
        {
            "type": "completed",
            "image_index": place,
            "created_at": reply["created"],
            **image,
            **everywhere,
            "usage": reply["usage"] if place == 0 else usage(0, 0, 0),
        }
        for place, image in enumerate(reply["data"])
    ]


def wire_reply(reply: dict[str, Any], response_format: str, publish: Publish | None) -> dict[str, Any]:
    """A reply as HTTP callers get it.

    Args:
      response_format: `url`, `b64_json`, or "" for both.
      publish: makes URLs; None where there are none.

    Raises:
      UrlsUnavailable: nothing but URLs is asked for, and one could not be made. Else a `warning` says so.
    """
    warning = {}
    urls: list[str | None] = [None] * len(reply["data"])
    if publish and response_format != "b64_json":
        try:
            urls = [publish(entry["image"]) for entry in reply["data"]]
        except UrlsUnavailable as error:
            if response_format == "url":
                raise
            warning = {"warning": " ".join(filter(None, (reply.get("warning"), str(error))))}
    with_files = response_format != "url" or publish is None
    images = [_wire_image(entry, with_files, url) for entry, url in zip(reply["data"], urls, strict=True)]
    return reply | warning | {"data": images}


def wire_event(event: Event, prefix: str) -> Event:
    """An event as HTTP callers get it; `prefix` is `image_generation` or `image_edit`."""
    return _wire_image(event, "image" in event, None) | {"type": f"{prefix}.{event['type']}"}


def _wire_image(entry: dict[str, Any], with_file: bool, url: str | None) -> dict[str, Any]:
    pictures = {"b64_json": base64.b64encode(entry["image"]).decode("ascii")} if with_file else {}
    if url is not None:
        pictures["url"] = url
    return pictures | {name: value for name, value in entry.items() if name != "image"}
