"""A service that draws at once, behind the real HTTP app.

An image is a PNG of 2×2 pixels, all of its seed mod 256; image i has the seed `seed` + i, 7 + i where none is given.
"""

import asyncio
import base64
import io
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from deployments.api.routes import build_api
from deployments.config import AppConfig
from deployments.gateway.caller import Caller
from deployments.gateway.commons import CommonsClient
from deployments.gateway.image_store import ImageStore
from deployments.gateway.quotas import Quotas
from deployments.gateway.replies import Event, completed_events, usage
from deployments.gateway.usage import USAGE_COUNTS
from deployments.requests.schemas import DrawingRequest, Upload
from model_core.errors import ModelNotFound
from model_core.pictures import images

GENERATIONS, EDITS, VARIATIONS = (f"/v1/images/{name}" for name in ("generations", "edits", "variations"))


class FakeService:
    """What the routes need of the gateway.

    Attributes:
      error: raised instead of drawing; late, where a stream has begun.
      request: the request that was drawn last, and its upload.
    """

    def __init__(self, config: AppConfig | None = None, url_folder: Path | None = None):
        self.config = config or AppConfig()
        self.images = None if url_folder is None else ImageStore(url_folder, 60.0, 10**6)
        self.quotas = Quotas(CommonsClient(None, self.config.cache))
        self.error: Exception | None = None
        self.is_ready = True
        self.model_card: str | None = None
        self.pictures_of_known: Path | None = None
        self.request: DrawingRequest | None = None
        self.upload: Upload | None = None
        self.num_closed = 0
        self.api = build_api(self)

    async def draw(
        self, request: DrawingRequest, upload: Upload | None = None, caller: Caller | None = None
    ) -> dict[str, Any]:
        await (caller or Caller()).charge(request.num_drawn)
        if self.error:
            raise self.error
        return self._reply(request, upload)

    async def stream(
        self, request: DrawingRequest, upload: Upload | None = None, caller: Caller | None = None
    ) -> AsyncGenerator[Event, None]:
        await (caller or Caller()).charge(request.num_drawn)
        try:
            if self.error and not request.partial_images:
                raise self.error
            reply = self._reply(request, upload)
            for place in range(request.partial_images):
                about = {name: reply[name] for name in ("size", "quality", "background", "output_format")}
                numbers = {"partial_image_index": place, "image_index": 0, "progress": 0.5, "created_at": 1, "seed": 7}
                yield {"type": "partial_image", "image": reply["data"][0]["image"], **numbers, **about}
                if self.error:
                    raise self.error
            for event in completed_events(reply):
                yield event
        finally:
            self.num_closed += 1

    def list_models(self) -> list[dict[str, Any]]:
        return [self.describe_model("fake/one")]

    def describe_model(self, name: str) -> dict[str, Any]:
        if name != "fake/one":
            raise ModelNotFound("There is no such model.")
        about = {
            "size": "2x2",
            "licence": "none",
            "description": "",
            "ranks_images": True,
            "backgrounds": ["opaque"],
            "has_card": False,
            "grid": (1, 1),
            "can_be_guided": True,
            "example_prompts": [],
            "known_things": [],
            "known_ways": ["{}"],
            "has_known_pictures": False,
            "sampling": {"top_k": 0},
            "ranges": {},
            "refines": None,
        }
        limits = {"max_n": 10, "max_best_of": 128}
        return {"id": name, "object": "model", "created": 1, "owned_by": "dalle-serve"} | about | limits

    def on_change(self, listener: Callable[[AppConfig], None]) -> None:
        """Nothing changes here."""

    async def usage(self, caller: Caller) -> dict[str, Any]:
        counts = dict.fromkeys(USAGE_COUNTS, 1)
        about = {"object": "usage", "key": caller.name or None, "since": 1, "rate_limit": None}
        return about | counts | {"models": {"fake/one": counts}}

    async def card(self, name: str) -> str | None:
        return self.model_card if name == "fake/one" else None

    def known_pictures(self, name: str) -> Path | None:
        return self.pictures_of_known if name == "fake/one" else None

    async def readiness(self) -> dict[str, Any]:
        return {"ready": self.is_ready, "model": "fake/one", "stages": {}, "pending_images": 0, "seconds_an_image": 1.0}

    def _reply(self, request: DrawingRequest, upload: Upload | None) -> dict[str, Any]:
        self.request, self.upload = request, upload
        seeds = [(7 if request.seed is None else request.seed) + i for i in range(request.n)]
        pictures = [np.full((2, 2, 3), seed % 256, np.uint8) for seed in seeds]
        data = [
            {
                "image": images.encode(picture, request.file_format, request.output_compression),
                "seed": seed,
                "clip_score": 0.5,
                "revised_prompt": request.prompt,
            }
            for picture, seed in zip(pictures, seeds, strict=True)
        ]
        about = {"output_format": request.file_format, "size": "2x2", "background": "opaque", "quality": "high"}
        told = {"usage": usage(3, 0, 4), "model": "fake/one", "native_size": "2x2"}
        return {"created": 1, "data": data} | about | told


def ask(
    service: Any, method: str, path: str, *, client: tuple[str, int] = ("127.0.0.1", 1), **options: Any
) -> httpx.Response:
    """One request over ASGI."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(getattr(service, "api", None) or build_api(service), client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as session:
            return await session.request(method, path, **options)

    return asyncio.run(send())


def png(width: int = 4, height: int = 4, mode: str = "RGB", colour: Any = 128) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def data_url(file: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(file).decode()}"


def events_of(reply: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream; each one's name is its type."""
    found = []
    for block in reply.text.split("\n\n"):
        if block.startswith("event: "):
            name, data = block.split("\n")
            content = json.loads(data.removeprefix("data: "))
            assert name.removeprefix("event: ") == content.get("type", "error")
            found.append(content)
        else:
            assert block in ("", ": keep-alive")
    return found


def assert_envelope(reply: httpx.Response, status: int, code: str) -> None:
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    refused = {"moderation_details"} if code == "content_policy_violation" else set()
    assert set(error) == {"message", "type", "param", "code"} | refused
    assert error["code"] == code
    assert error["message"] and error["type"]
    assert "Traceback" not in reply.text and len(reply.text) < 2000
