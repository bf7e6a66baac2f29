import asyncio
import contextvars
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from ray.serve import context as serve_context

from deployments.flow.single_flight import SingleFlight

NEVER = 1e9


class Work:
    """Yields 0, 1, … as it is let: `step` lets it go on, with an error where there is one."""

    def __init__(self) -> None:
        self.times_begun = 0
        self.times_given_up = 0
        self.seen_context: Any = None
        self._steps: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def __call__(self, count: int = 3) -> AsyncGenerator[int, None]:
        self.times_begun += 1
        self.seen_context = contextvars.copy_context()
        try:
            for number in range(count):
                if error := await self._steps.get():
                    raise error
                yield number
        except asyncio.CancelledError:
            self.times_given_up += 1
            raise

    def step(self, times: int = 1, error: Exception | None = None) -> None:
        for _ in range(times):
            self._steps.put_nowait(error)


async def gather(flights: SingleFlight[int], work: Work, until: float = NEVER, key: str = "key") -> list[int]:
    async with aclosing(flights.follow(key, work, until)) as items:
        return [item async for item in items]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_the_same_is_done_once_and_who_joins_late_sees_it_from_the_beginning():
    async def check() -> None:
        flights, work = SingleFlight[int](), Work()
        first = asyncio.create_task(gather(flights, work))
        await settle()
        work.step()
        await settle()
        late, other = asyncio.create_task(gather(flights, work)), asyncio.create_task(gather(flights, work, key="b"))
        await settle()
        assert flights.has("key")
        work.step(5)
        assert await first == await late == await other == [0, 1, 2]
        assert work.times_begun == 2
        assert not flights.has("key")

    asyncio.run(check())


def test_it_goes_on_as_long_as_one_waits_and_no_longer():
    async def check() -> None:
        flights, work = SingleFlight[int](), Work()
        waiting = [asyncio.create_task(gather(flights, work)) for _ in range(3)]
        await settle()
        for leaver in waiting[:2]:  # the one who began it is the first
            leaver.cancel()
        await settle()
        assert work.times_given_up == 0
        work.step(3)
        assert await waiting[2] == [0, 1, 2]
        last = asyncio.create_task(gather(flights, work))
        await settle()
        last.cancel()
        await settle()
        assert (work.times_begun, work.times_given_up) == (2, 1)
        assert not flights.has("key")

    asyncio.run(check())


def test_who_comes_while_it_is_being_given_up_begins_anew():
    async def check() -> None:
        flights, cleaned = SingleFlight[int](), asyncio.Event()

        async def never() -> AsyncGenerator[int, None]:
            try:
                await asyncio.sleep(3600)
                yield 0
            finally:
                await cleaned.wait()

        async with aclosing(flights.follow("key", never, NEVER)) as items:
            leaver = asyncio.ensure_future(anext(items))
            await settle()
            leaver.cancel()
            await settle()
            work = Work()
            work.step(3)
            assert await gather(flights, work) == [0, 1, 2]
            cleaned.set()
            await asyncio.gather(leaver, return_exceptions=True)

    asyncio.run(check())


def test_an_error_is_everybodys_and_the_next_begins_anew():
    async def check() -> None:
        flights, work = SingleFlight[int](), Work()
        waiting = [asyncio.create_task(gather(flights, work)) for _ in range(2)]
        await settle()
        work.step(error=ValueError("no"))
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ValueError] * 2
        work.step(3)
        assert await gather(flights, work) == [0, 1, 2]

    asyncio.run(check())


def test_each_waits_as_long_as_he_may():
    async def check() -> None:
        flights, work = SingleFlight[int](), Work()
        patient = asyncio.create_task(gather(flights, work))
        await settle()
        with pytest.raises(TimeoutError):
            await gather(flights, work, until=asyncio.get_running_loop().time())
        work.step(3)
        assert await patient == [0, 1, 2]
        with pytest.raises(TimeoutError):
            await gather(flights, work, until=asyncio.get_running_loop().time())
        assert work.times_given_up == 1  # he was the only one

    asyncio.run(check())


def test_what_serve_and_ray_cancel_with_a_client_is_not_the_work_of_all():
    """It has the request's id and trace, and none of those by which nested calls are found."""
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace")

    async def check() -> None:
        flights, work = SingleFlight[int](), Work()
        asking: Any = serve_context._RequestContext(request_id="mine", _internal_request_id="inner")
        serve_context._serve_request_context.set(asking)
        trace.set("here")
        work.step(3)
        await gather(flights, work)
        seen = work.seen_context[serve_context._serve_request_context]
        assert seen.request_id == "mine" and seen._internal_request_id not in ("inner", "")
        assert work.seen_context[trace] == "here"
        assert serve_context._serve_request_context.get() is asking

    asyncio.run(check())
