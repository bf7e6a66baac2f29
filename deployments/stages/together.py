"""Several streams as one, whose items are lists of what there is at a time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

Item = TypeVar("Item")


async def together(streams: Sequence[AsyncGenerator[Item, None]]) -> AsyncGenerator[list[tuple[int, Item]], None]:
    """Yields items of all, each with the place of its stream; those of one stream in their order.

    The first error ends all of them, and is raised once what was there before has been yielded. Close it
    (`contextlib.aclosing`) to end them earlier.
    """
    events: asyncio.Queue[tuple[int, Item] | BaseException | None] = asyncio.Queue()

    async def read(place: int, stream: AsyncGenerator[Item, None]) -> None:
        end: BaseException | None = None
        try:
            async with aclosing(stream):
                async for item in stream:
                    events.put_nowait((place, item))
        except Exception as error:
            end = error
        events.put_nowait(end)

    readers = [asyncio.create_task(read(*each)) for each in enumerate(streams)]
    left, error = len(readers), None
    try:
        while left and error is None:
            news = [await events.get()]
            await asyncio.sleep(0)  # what ended in the same turn comes in the same one
            while not events.empty():
                news.append(events.get_nowait())
            items = [event for event in news if isinstance(event, tuple)]
            error = next((event for event in news if isinstance(event, BaseException)), None)
            left -= len(news) - len(items)
            if items:
                yield items
        if error is not None:
            raise error
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
