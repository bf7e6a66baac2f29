import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from deployments.api.events import event_stream

SLOWLY, AT_ONCE = 30.0, 0.005


def explain(error: Exception) -> dict[str, Any]:
    return {"error": {"message": str(error)}}


class Source:
    """Gives its items, waits where one is a number of seconds, raises where one is an error."""

    def __init__(self, *items: Any):
        self._items = items
        self.is_closed = False

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        try:
            for item in self._items:
                if isinstance(item, float):
                    await asyncio.sleep(item)
                elif isinstance(item, Exception):
                    raise item
                else:
                    yield {"type": item}
        finally:
            self.is_closed = True


async def body_of(source: Source, keep_alive_s: float, leave_after: int | None = None) -> bytes:
    """What is sent; the client leaves after so many messages."""
    response = await event_stream(source.events(), explain, keep_alive_s)
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if len(sent) == leave_after:
            raise OSError("gone")

    async def receive() -> Any:
        await asyncio.sleep(SLOWLY)

    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    try:
        await response(scope, receive, send)
    finally:
        assert source.is_closed
    return b"".join(sent)


def test_events_are_sent_as_they_come():
    body = asyncio.run(body_of(Source("a", "b"), SLOWLY))
    assert body == b'event: a\ndata: {"type":"a"}\n\nevent: b\ndata: {"type":"b"}\n\n'


def test_silence_is_filled_with_comments():
    body = asyncio.run(body_of(Source(0.1, "a", 0.1, "b"), AT_ONCE))
    first, second = body.split(b"event: a")
    for part in (first, second.split(b"event: b")[0]):
        assert part.count(b": keep-alive\n\n") >= 2


def test_an_early_error_is_raised_and_a_late_one_is_sent():
    early = Source(ValueError("early"))
    with pytest.raises(ValueError, match="early"):
        asyncio.run(body_of(early, SLOWLY))
    assert early.is_closed
    assert asyncio.run(body_of(Source("a", ValueError("late")), SLOWLY)).endswith(
        b'event: error\ndata: {"error":{"message":"late"}}\n\n'
    )
    quiet = asyncio.run(body_of(Source(0.05, ValueError("after a comment")), AT_ONCE))
    assert quiet.startswith(b": keep-alive") and b"after a comment" in quiet


@pytest.mark.parametrize("messages", [1, 2, 3])
def test_when_the_client_leaves_the_work_stops(messages: int):
    source = Source("a", "b", "c", SLOWLY)
    with pytest.raises(Exception):  # noqa: B017 - Starlette's own, or the server's
        asyncio.run(body_of(source, SLOWLY, leave_after=messages))
    assert source.is_closed


def test_given_up_before_the_first_event_it_stops_too():
    async def check() -> None:
        source = Source(SLOWLY)
        waiting = asyncio.create_task(event_stream(source.events(), explain, SLOWLY))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert source.is_closed

    asyncio.run(check())
