import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.config import CacheConfig
from deployments.gateway import commons as commons_module
from deployments.gateway.commons import Commons, CommonsClient
from deployments.telemetry import degraded
from tests.unit.deployments.fakes import FakeResponse

REPLY = {"data": [{"image": b"picture"}]}


class Handle:
    """Serve's, of commons in this process. `faults` are raised by the next calls; `delay_s` is how long each takes."""

    def __init__(self) -> None:
        self.commons = Commons(CacheConfig())
        self.faults: list[Exception] = []
        self.delay_s = 0.0
        self.num_calls = 0

    def __getattr__(self, method: str) -> Any:
        async def call(*args: Any) -> Any:
            self.num_calls += 1
            await asyncio.sleep(self.delay_s)
            if self.faults:
                raise self.faults.pop(0)
            return await getattr(self.commons, method)(*args)

        return SimpleNamespace(remote=lambda *args: FakeResponse(call, args))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("is_shared", [False, True])
def test_what_is_kept_is_found(is_shared: bool):
    async def check() -> None:
        handle = Handle()
        first, second = (CommonsClient(handle if is_shared else None, CacheConfig()) for _ in range(2))
        await first.keep(b"key", REPLY)
        await settle()
        assert await first.find(b"key") == REPLY
        assert await first.find(b"other") is None
        assert await second.find(b"key") == (REPLY if is_shared else None)

    asyncio.run(check())


def test_where_it_is_away_nothing_is_found_and_nothing_fails():
    """After three failures it is left alone for a while, and readiness says so until it works again."""

    async def check() -> None:
        handle = Handle()
        client = CommonsClient(handle, CacheConfig())
        handle.faults = [RuntimeError("the replica is gone")] * 3
        for _ in range(5):
            assert await client.find(b"key") is None
        assert handle.num_calls == 3
        assert degraded.warnings() == ["commons: what gateways share cannot be reached"]
        client._circuit._closed_from = 0.0
        await client.keep(b"key", REPLY)
        await settle()
        assert await client.find(b"key") == REPLY
        assert not degraded.warnings()

    asyncio.run(check())


def test_nobody_waits_for_one_that_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(commons_module, "PATIENCE_S", 0.01)

    async def check() -> None:
        handle = Handle()
        handle.delay_s = 600
        client = CommonsClient(handle, CacheConfig())
        assert await client.find(b"key") is None
        await client.keep(b"key", REPLY)  # returns at once
        for task in client._keeping:
            task.cancel()

    asyncio.run(check())
