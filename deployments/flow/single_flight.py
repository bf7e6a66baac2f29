"""Work that several ask for at the same time is done once: the first begins it, the others join in.

It is given up when nobody waits for it any more. Its error is everybody's. Each waits as long as he himself may.
"""

import asyncio
import contextvars
import uuid
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Generic, TypeVar

from ray._raylet import async_task_id  # pyright: ignore[reportAttributeAccessIssue] - it is compiled
from ray.serve import context as serve_context

Item = TypeVar("Item")


class SingleFlight(Generic[Item]):
    """Generators under way, by what they are for."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[Item]] = {}

    def has(self, key: Hashable) -> bool:
        """Whether something is under way that one could join."""
        return key in self._flights

    async def follow(
        self, key: Hashable, begin: Callable[[], AsyncGenerator[Item, None]], until: float
    ) -> AsyncGenerator[Item, None]:
        """Yields all that the generator of that key yields, from its first item on; begins one where there is none.

        Close it (`contextlib.aclosing`) to wait no longer.

        Args:
          until: when to give up, by the event loop's clock.

        Raises:
          TimeoutError: it is given up.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(begin(), lambda ended: self._forget(key, ended))
        async with aclosing(flight.items(until)) as items:
            async for item in items:
                yield item

    def _forget(self, key: Hashable, flight: "_Flight[Item]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class _Flight(Generic[Item]):
    """One generator, in a task of its own, and who waits for it."""

    def __init__(self, source: AsyncGenerator[Item, None], on_end: Callable[["_Flight[Item]"], None]):
        self._on_end = on_end
        self._items: list[Item] = []
        self._news = asyncio.Event()
        self._waiting = 0
        loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] = loop.create_task(self._run(source), context=_of_nobody())
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # looked at, if by nobody else

    async def items(self, until: float) -> AsyncGenerator[Item, None]:
        """What comes, from the first item on; the last who leaves ends it."""
        self._waiting += 1
        place = 0
        try:
            while True:
                while place < len(self._items):
                    yield self._items[place]
                    place += 1
                if self._task.done():
                    self._task.result()  # raises its error
                    return
                async with asyncio.timeout_at(until):
                    await self._news.wait()
        finally:
            self._waiting -= 1
            if not self._waiting and not self._task.done():
                self._on_end(self)  # who comes from now on begins anew
                self._task.cancel()
                await asyncio.wait({self._task})

    async def _run(self, source: AsyncGenerator[Item, None]) -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    self._items.append(item)
                    self._tell()
        finally:
            self._on_end(self)
            asyncio.get_running_loop().call_soon(self._news.set)  # when the task is done

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _of_nobody() -> contextvars.Context:
    """The context of whoever asks, with his request's id and trace, but for what his calls are cancelled by.

    Where a client leaves, Serve cancels the calls that its request has made, and Ray those of its task, also where
    others wait for them.
    """
    context = contextvars.copy_context()

    def part() -> None:
        asking: Any = serve_context._get_serve_request_context()
        own = replace(asking, _internal_request_id=str(uuid.uuid4()), cancel_on_parent_request_cancel=False)
        serve_context._serve_request_context.set(own)
        async_task_id.set(None)

    context.run(part)
    return context
