import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from deployments.stages.together import together


class Stream:
    """Yields its items when they are let out, and knows whether it was ended."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[int | Exception | None] = asyncio.Queue()
        self.has_ended = False

    async def __call__(self) -> AsyncGenerator[int, None]:
        try:
            while (step := await self.steps.get()) is not None:
                if isinstance(step, Exception):
                    raise step
                yield step
        finally:
            self.has_ended = True


def test_what_is_there_at_a_time_comes_together_and_in_order():
    async def check() -> None:
        streams = [Stream(), Stream()]
        for step in (1, 2):
            streams[0].steps.put_nowait(step)
        streams[1].steps.put_nowait(10)
        async with aclosing(together([stream() for stream in streams])) as items:
            first = await anext(items)
            while len(first) < 3:
                first += await anext(items)
            assert sorted(first) == [(0, 1), (0, 2), (1, 10)]
            for stream in streams:
                stream.steps.put_nowait(None)
            assert [item async for item in items] == []
        assert all(stream.has_ended for stream in streams)

    asyncio.run(check())


@pytest.mark.parametrize("is_left", [True, False])
def test_an_error_or_leaving_ends_all_of_them(is_left: bool):
    async def check() -> None:
        streams = [Stream(), Stream()]
        streams[0].steps.put_nowait(1)
        items = together([stream() for stream in streams])
        assert await anext(items) == [(0, 1)]
        if is_left:
            await items.aclose()
        else:
            streams[0].steps.put_nowait(ValueError("no"))
            with pytest.raises(ValueError, match="no"):
                await anext(items)
        assert all(stream.has_ended for stream in streams)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(check())
