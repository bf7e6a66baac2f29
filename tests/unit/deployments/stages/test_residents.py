import asyncio
import random
import threading
import weakref
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from deployments.stages import residents
from deployments.stages.residents import Residents

SIZES = {"a": 4, "b": 4, "c": 4, "big": 8}


@pytest.fixture(autouse=True)
def no_collecting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have left in this process takes long to go through."""
    if "circle" not in request.node.name:
        monkeypatch.setattr(residents.gc, "collect", lambda: 0)


class Memory:
    """Loads names in capitals, and watches what is there."""

    def __init__(self, max_bytes: int = 8):
        self.loaded: list[str] = []
        self.there: set[str] = set()
        self.in_use: set[str] = set()
        self.problem: Exception | None = None
        self.may_load = threading.Event()
        self.may_load.set()
        self.max_bytes = max_bytes
        self.residents = Residents(self._load, self._unload, SIZES, max_bytes)

    def _load(self, name: str) -> str:
        assert self.may_load.wait(60)
        if self.problem:
            raise self.problem
        self.loaded.append(name)
        self.there.add(name)
        assert sum(SIZES[each] for each in self.there) <= self.max_bytes
        return name.upper()

    def _unload(self, thing: str) -> None:
        assert thing.lower() not in self.in_use
        self.there.remove(thing.lower())

    async def use(self, *names: str) -> None:
        for name in names:
            async with self.residents.use(name) as thing:
                assert thing == name.upper()


def run(check: Callable[[], Any]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await check()

    asyncio.run(in_time())


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_was_used_longest_ago_makes_room():
    async def check() -> None:
        memory = Memory()
        await memory.use("a", "b", "a", "c", "a")
        assert memory.loaded == ["a", "b", "c"] and memory.there == {"a", "c"}
        await memory.use("big")
        assert memory.there == {"big"}
        assert memory.residents.things == {"big": "BIG"}

    run(check)


def test_what_has_left_is_gone_also_where_it_goes_in_a_circle():
    class Circle:
        def __init__(self) -> None:
            self.self = self

    async def check() -> None:
        circles = Residents(lambda name: Circle(), lambda thing: None, {"a": 1, "b": 1}, 1)
        async with circles.use("a") as circle:
            left = weakref.ref(circle)
        del circle
        async with circles.use("b"):
            assert left() is None

    run(check)


def test_what_many_ask_for_at_once_is_loaded_once():
    async def check() -> None:
        memory = Memory()
        await asyncio.gather(*(memory.use("a") for _ in range(5)))
        assert memory.loaded == ["a"]

    run(check)


def test_nothing_in_use_leaves_and_who_waits_for_room_is_next():
    async def check() -> None:
        memory = Memory()
        async with AsyncExitStack() as drawing:
            for name in ("a", "b"):
                await drawing.enter_async_context(memory.residents.use(name))
            cold = asyncio.create_task(memory.use("big"))
            await turns()
            more = asyncio.create_task(memory.use("a"))  # must not keep the other one out
            await turns()
            assert not cold.done() and not more.done() and memory.there == {"a", "b"}
        await asyncio.gather(cold, more)
        assert memory.loaded == ["a", "b", "big", "a"]

    run(check)


def test_idle_things_go_before_those_in_use():
    async def check() -> None:
        memory = Memory()
        async with memory.residents.use("a"):
            await memory.use("b", "c", "b")
            assert memory.there == {"a", "b"}

    run(check)


def test_who_leaves_takes_his_wish_along():
    async def check() -> None:
        memory = Memory()
        async with memory.residents.use("a"), memory.residents.use("b"):
            waiting = asyncio.create_task(memory.use("big"))
            await turns()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await memory.use("a", "b")  # they stay after all
        assert memory.loaded == ["a", "b"]
        assert len(asyncio.all_tasks()) == 1

    run(check)


def test_one_of_two_who_leaves_leaves_the_other_waiting():
    async def check() -> None:
        memory = Memory()
        memory.may_load.clear()
        one, other = (asyncio.create_task(memory.use("a")) for _ in range(2))
        await turns()
        one.cancel()
        await turns()
        memory.may_load.set()
        await other
        assert memory.loaded == ["a"]

    run(check)


def test_who_comes_while_a_wish_is_taken_back_gets_what_he_came_for():
    async def check() -> None:
        memory = Memory()
        async with memory.residents.use("a"), memory.residents.use("b"):
            waiting = asyncio.create_task(memory.use("big"))
            await turns()
            waiting.cancel()
            late = asyncio.create_task(memory.use("big"))
            await turns()
        await late
        assert memory.there == {"big"}

    run(check)


def test_an_error_in_loading_is_told_to_who_waits_and_the_next_one_tries_again():
    async def check() -> None:
        memory = Memory()
        memory.problem = OSError("no such file")
        found = await asyncio.gather(*(memory.use("a") for _ in range(2)), return_exceptions=True)
        assert [str(error) for error in found] == ["no such file"] * 2
        memory.problem = None
        await memory.use("a")

    run(check)


def test_names_and_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="big takes 8 bytes"):
        Memory(max_bytes=7)

    async def check() -> None:
        with pytest.raises(KeyError):
            await Memory().use("other")

    run(check)


@pytest.mark.parametrize("seed", range(3))
def test_at_random_the_memory_is_never_full_and_everybody_is_served(seed: int):
    """Those who leave early too: `Memory` itself looks at what is there and in use."""
    chance = random.Random(seed)

    async def check() -> None:
        memory = Memory()
        users = dict.fromkeys(SIZES, 0)
        served = 0

        async def visit() -> None:
            nonlocal served
            await asyncio.sleep(chance.random() / 50)
            name = chance.choice(list(SIZES))
            async with memory.residents.use(name):
                users[name] += 1
                memory.in_use.add(name)
                try:
                    await asyncio.sleep(chance.random() / 500)
                finally:
                    users[name] -= 1
                    if not users[name]:
                        memory.in_use.discard(name)
            served += 1

        visits = [asyncio.create_task(visit()) for _ in range(60)]
        leaving = visits[::7]
        await asyncio.sleep(0.01)
        for task in leaving:
            task.cancel()
        found = await asyncio.gather(*visits, return_exceptions=True)
        assert not [error for error in found if isinstance(error, Exception)]
        assert served >= len(visits) - len(leaving)

    run(check)
