"""A stream of server-sent events: previews and finished images, comments while there is nothing to say, late errors."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

KEEP_ALIVE_S = 10.0  # below the idle limits of the proxies that are about (the shortest is 15 s)
KEEP_ALIVE = b": keep-alive\n\n"
HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}

Event = dict[str, Any]


async def event_stream(
    events: AsyncGenerator[Event, None], explain: Callable[[Exception], Event], keep_alive_s: float = KEEP_ALIVE_S
) -> StreamingResponse:
    """Begins to answer with events; each is sent as the JSON it is, named by its `type`.

    Returns as soon as the first event is there, or after `keep_alive_s` without one. An error until then is raised, so
    that it can still be answered with a status of its own; a later one becomes the last event. However the reply
    ends, the events are closed.

    Args:
      keep_alive_s: a comment is sent after each such time without an event.
    """
    feed = _Feed(events)
    try:
        if await feed.has_next(keep_alive_s):
            feed.raise_error()
    except BaseException:
        await feed.close()
        raise
    return _EventResponse(feed, explain, keep_alive_s)


class _EventResponse(StreamingResponse):
    """Closes the feed whatever happens, also where sending never began."""

    def __init__(self, feed: "_Feed", explain: Callable[[Exception], Event], keep_alive_s: float):
        super().__init__(_encoded(feed, explain, keep_alive_s), media_type="text/event-stream", headers=HEADERS)
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._feed.close()


class _Feed:
    """Events one by one, with the next always under way, so that waiting for it may be interrupted."""

    def __init__(self, events: AsyncGenerator[Event, None]):
        self._events = events
        self._next: asyncio.Future[Event | None] = asyncio.ensure_future(anext(events, None))

    async def has_next(self, timeout_s: float) -> bool:
        """Waits for an event, an error or the end; False if none of them came in time."""
        return bool((await asyncio.wait({self._next}, timeout=timeout_s))[0])

    def raise_error(self) -> None:
        """Raises what came instead of an event."""
        if (error := self._next.exception()) is not None:
            raise error

    def take(self) -> Event | None:
        """The event that is there, None at the end; raises what came instead."""
        event = self._next.result()
        if event is not None:
            self._next = asyncio.ensure_future(anext(self._events, None))
        return event

    async def close(self) -> None:
        """Cancels what is under way, and waits until it has ended."""
        self._next.cancel()
        await asyncio.wait({self._next})
        if not self._next.cancelled():
            self._next.exception()  # looked at, so that nobody complains that it never was
        await self._events.aclose()


async def _encoded(feed: _Feed, explain: Callable[[Exception], Event], keep_alive_s: float) -> AsyncIterator[bytes]:
    wait_s = 0.0  # the headers go out with something at once
    while True:
        if not await feed.has_next(wait_s):
            yield KEEP_ALIVE
            wait_s = keep_alive_s
            continue
        wait_s = keep_alive_s
        try:
            event = feed.take()
        except Exception as error:
            yield _line("error", explain(error))
            return
        if event is None:
            return
        yield _line(event["type"], event)


def _line(name: str, content: Event) -> bytes:
    return f"event: {name}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n".encode()
