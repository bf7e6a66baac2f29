"""A request's images at the least cost: found among what was kept, else drawn together with others, else alone."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from deployments.config import AppConfig
from deployments.errors import DeadlineExceeded
from deployments.flow.single_flight import SingleFlight
from deployments.gateway.admission import Admission
from deployments.gateway.caller import Caller
from deployments.gateway.commons import CommonsClient
from deployments.gateway.image_request import ImageRequest
from deployments.gateway.replies import Event
from deployments.gateway.results import result_key
from deployments.requests.schemas import DrawingRequest, Upload


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A checked request, who asks, and all that its images depend on; the settings are those when it came.

    Attributes:
      model: the fingerprint of the model that draws.
    """

    request: DrawingRequest
    upload: Upload | None
    image_request: ImageRequest
    caller: Caller
    is_batch: bool
    model: str
    config: AppConfig

    def key(self) -> bytes:
        """What the images are kept under."""
        return result_key(self.request, self.upload, self.model, self.caller.scope, self.config)


class Answers:
    """Where images come from."""

    def __init__(self, commons: CommonsClient, admission: Admission):
        self._commons = commons
        self._admission = admission
        self._flights: SingleFlight[Event] = SingleFlight()

    async def to(self, asked: Asked) -> AsyncGenerator[Event, None]:
        """Previews, where they are asked for and something is drawn, and at the end the reply; tells the caller how.

        Without a seed, different images are what is asked for.
        """
        caller = asked.caller
        if asked.request.seed is None or not caller.may_keep:
            items = self._draw(asked)
        else:
            key = await asyncio.to_thread(asked.key) if asked.upload else asked.key()
            reply = await self._commons.find(key) if caller.may_find else None
            if reply is not None:
                caller.cache = "hit"
                yield reply
                return
            caller.cache = "miss"
            items = self._draw_once(asked, key) if caller.may_find else self._draw(asked, key)
        async with aclosing(items):
            async for item in items:
                yield item

    async def _draw_once(self, asked: Asked, key: bytes) -> AsyncGenerator[Event, None]:
        """Draws, or joins who draws the same. Where that one's time is up and there is some left here, draws again."""
        loop = asyncio.get_running_loop()
        until = loop.time() + asked.config.gateway.request_timeout_s
        previews = asked.request.partial_images if asked.request.stream else 0
        flight = key, previews, asked.is_batch  # who waits himself does not wait for batch work
        has_shown = False
        while True:
            asked.caller.cache = "joined" if self._flights.has(flight) else "miss"
            drawing = self._flights.follow(flight, lambda: self._draw(asked, key), until)
            shows = not has_shown
            try:
                async with aclosing(drawing):
                    async for item in drawing:
                        if is_reply(item) or shows:
                            has_shown = True
                            yield item
                return
            except TimeoutError as error:
                raise DeadlineExceeded("The request took longer than it may, and was stopped.") from error
            except DeadlineExceeded:
                if asked.caller.cache == "miss" or loop.time() >= until:
                    raise

    async def _draw(self, asked: Asked, key: bytes | None = None) -> AsyncGenerator[Event, None]:
        """Draws, at the caller's expense; keeps the reply where there is a key to keep it under."""
        request, image_request = asked.request, asked.image_request
        await asked.caller.charge(image_request.charged_images)
        with image_request.place(self._admission):
            if request.stream:
                async with aclosing(image_request.stream()) as items:
                    async for item in items:
                        reply = item
                        if not is_reply(item):
                            yield item
            else:
                reply = await image_request.draw()
        if key is not None and image_request.is_complete:
            await self._commons.keep(key, reply)
        yield reply


def is_reply(answer: Event) -> bool:
    """Whether it is a whole reply, rather than a preview."""
    return "data" in answer
