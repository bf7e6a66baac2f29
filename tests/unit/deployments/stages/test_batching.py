import asyncio
import gc
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from ray import serve

from deployments.stages.batching import batched


@pytest.fixture(autouse=True)
def replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch looks up how many calls its replica lets in, to warn of batches that cannot fill."""
    settings = SimpleNamespace(max_ongoing_requests=100)
    monkeypatch.setattr(serve, "get_replica_context", lambda: SimpleNamespace(_deployment_config=settings))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that outlives the queues: one of Serve's that is collected without any makes one, and leaves it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(tasks))
    del task, tasks
    gc.collect()
    asyncio.set_event_loop(None)
    loop.close()


def test_calls_go_together_in_a_thread_and_get_their_own_results(loop: asyncio.AbstractEventLoop):
    sizes, threads = [], set()

    def add(left: list[int], right: list[int]) -> list[int]:
        sizes.append(len(left))
        threads.add(threading.current_thread())
        return [a + b for a, b in zip(left, right, strict=True)]

    async def check() -> list[int]:
        add_batched = batched(add, 3, 1)
        return await asyncio.gather(*(add_batched(i, 10) for i in range(6)))

    assert loop.run_until_complete(check()) == [10, 11, 12, 13, 14, 15]
    assert sizes == [3, 3]
    assert threading.main_thread() not in threads


def test_two_objects_do_not_share_a_queue(loop: asyncio.AbstractEventLoop):
    class Stage:
        def __init__(self, factor: int):
            self.factor = factor
            self.scaled = batched(self.scale, 2, 1)

        def scale(self, values: list[int]) -> list[int]:
            return [self.factor * value for value in values]

    async def check() -> list[int]:
        one, ten = Stage(1), Stage(10)
        return await asyncio.gather(one.scaled(1), ten.scaled(1), one.scaled(2), ten.scaled(2))

    assert loop.run_until_complete(check()) == [1, 10, 2, 20]


def test_an_error_reaches_the_callers_of_its_batch_alone(loop: asyncio.AbstractEventLoop):
    def invert(values: list[int]) -> list[float]:
        return [1 / value for value in values]

    async def check() -> list[str]:
        inverted = batched(invert, 1, 0)
        outcomes = await asyncio.gather(inverted(0), inverted(2), return_exceptions=True)
        return [repr(outcome) for outcome in outcomes]  # an error would hold on to its frames, and the queue in them

    assert loop.run_until_complete(check()) == ["ZeroDivisionError('division by zero')", "0.5"]


def test_an_error_is_that_of_its_item_alone(loop: asyncio.AbstractEventLoop):
    """A picture that comes out as NaN costs those that were decoded with it nothing but time."""
    sizes = []

    def invert(values: list[int]) -> list[float]:
        sizes.append(len(values))
        return [1 / value for value in values]

    async def check() -> list[str]:
        inverted = batched(invert, 3, 1)
        outcomes = await asyncio.gather(*(inverted(value) for value in (4, 0, 2)), return_exceptions=True)
        return [repr(outcome) for outcome in outcomes]

    assert loop.run_until_complete(check()) == ["0.25", "ZeroDivisionError('division by zero')", "0.5"]
    assert sizes == [3, 1, 1, 1]
