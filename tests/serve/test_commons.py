"""What gateways share, as a deployment on a real cluster: killed, it is missed by nobody for long."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.config import CacheConfig
from deployments.local import LocalService
from tests.serve.conftest import kill
from tests.serve.processes import replica

NAME = "commons"
PATIENCE_S = 120.0
REPLY = {"data": [{"image": bytes(300_000)}], "created": 1}


@pytest.fixture
def handle(service: LocalService) -> Iterator[Any]:
    from ray import serve

    from deployments.app import COMMONS_OPTIONS
    from deployments.gateway.commons import Commons

    app = serve.deployment(Commons).options(name=NAME, **COMMONS_OPTIONS).bind(CacheConfig())
    yield serve.run(app, name=NAME, route_prefix=None)
    serve.delete(NAME)


def test_two_gateways_find_each_others_results_and_share_budgets_and_outlive_it(handle: Any):
    from deployments.gateway.commons import CommonsClient  # which imports Serve, that warns of itself
    from deployments.gateway.quotas import Quotas
    from deployments.gateway.usage import Usage

    async def check() -> None:
        first, second = (CommonsClient(handle, CacheConfig()) for _ in range(2))
        mine, others = Quotas(first), Quotas(second)
        usage = Usage(first)
        await first.keep(b"key", REPLY)
        await asyncio.gather(*first._keeping)
        assert await second.find(b"key") == REPLY and await second.find(b"other") is None
        await mine.budget("key", 100).take(60)
        assert await second.credit("key", 100, 61, 0) == (0, pytest.approx(40, abs=20))
        usage.add("key", "tiny", requests=1)
        await usage.report()
        kill(replica(NAME))
        assert await first.find(b"key") is None
        await others.budget("key", 100).take(1)  # by what it has let through itself
        deadline = time.monotonic() + PATIENCE_S
        while not await first.report("other", {}):
            first._circuit.succeeded()  # else half a minute is waited
            assert time.monotonic() < deadline, "it does not come back"
            await asyncio.sleep(0.2)
        assert await first.find(b"key") is None  # nothing is known any more
        assert (await usage.of("key")).models == {"tiny": {"requests": 1}}

    asyncio.run(check())
