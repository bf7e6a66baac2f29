"""Finished images of requests with seeds, which are the same each time: what is asked for again is not drawn again.

A result is found under all that it depends on: the model with its files, every field, the uploads, what is refused, and
whose key asked, unless the settings let keys share. Prompts are held against the policy before anything is looked up.
"""

import hashlib
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from cachetools import TTLCache

from deployments.config import AppConfig
from deployments.requests.schemas import DrawingRequest, Upload

Reply = dict[str, Any]

# Fields that say who asks or how to answer, not what to draw.
NOT_OF_PICTURES = {"user", "safety_identifier", "response_format", "stream", "stream_multiple", "partial_images"}
NOT_OF_PICTURES |= {"priority"}
OVERHEAD_BYTES = 4096  # of a reply, beside its files


class Results:
    """Replies by key, at most so many bytes of them, and not for ever; what was used longest ago goes first."""

    def __init__(self, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic):
        self._replies: TTLCache[bytes, Reply] = TTLCache(max_bytes, seconds, clock, num_bytes)

    def find(self, key: bytes) -> Reply | None:
        """The reply of that key, or None."""
        return self._replies.get(key)

    def keep(self, key: bytes, reply: Reply) -> None:
        """Keeps a reply, unless it would take all the room there is."""
        if num_bytes(reply) <= self._replies.maxsize:
            self._replies[key] = reply

    @property
    def num_bytes(self) -> int:
        """How much is kept."""
        return int(self._replies.currsize)


def num_bytes(reply: Reply) -> int:
    """What a reply takes, about."""
    return OVERHEAD_BYTES + sum(len(entry["image"]) for entry in reply["data"])


def result_key(request: DrawingRequest, upload: Upload | None, model: str, scope: str, config: AppConfig) -> bytes:
    """What a request's images depend on, as a digest; takes a while where there are uploads.

    Args:
      model: the fingerprint of the model that draws.
      scope: whose key asks.
    """
    depends_on = {
        "fields": request.model_dump(exclude=NOT_OF_PICTURES | {"model"}),  # each kind of request has other ones
        "model": model,
        "files": [] if upload is None else [_digest(file) for file in upload.images],
        "mask": "" if upload is None or upload.mask is None else _digest(upload.mask),
        "empty": [] if upload is None else list(upload.empty),
        "safety": config.safety.model_dump(),
        "prompt_in_metadata": config.files.prompt_in_metadata,
        "scope": "" if config.cache.results_across_keys else scope,
        "version": version("dalle-serve"),
    }
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).digest()


def _digest(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()
