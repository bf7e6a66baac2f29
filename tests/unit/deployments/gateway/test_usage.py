import asyncio

from deployments.config import CacheConfig
from deployments.gateway.commons import Commons, CommonsClient
from deployments.gateway.usage import REPORTS_ALL_EVERY, Usage
from tests.unit.deployments.gateway.test_commons import Handle


def test_a_key_sees_what_it_has_had_of_all_gateways_whatever_dies():
    async def check() -> None:
        handle = Handle()
        first, second = (Usage(CommonsClient(handle, CacheConfig())) for _ in range(2))

        async def requests(usage: Usage) -> int:
            return (await usage.of("key")).models.get("emoji", {}).get("requests", 0)

        first.add("key", "emoji", requests=1, images_drawn=4)
        assert [await requests(usage) for usage in (first, second)] == [1, 1]  # it was said with the question
        first.add("key", "emoji", requests=1)
        assert await requests(second) == 1
        await first.report()
        assert await requests(second) == 2
        del first  # what it has said stays
        second.add("key", "emoji", requests=5)
        assert await requests(second) == 7
        second.add("other", "emoji", requests=100)
        assert await requests(second) == 7
        await second.report()
        handle.commons = Commons(CacheConfig())  # has forgotten
        handle.faults = [RuntimeError("it comes up")]
        second.add("key", "emoji", requests=1)
        await second.report()
        assert "key" in second._changed  # is said again
        for _ in range(REPORTS_ALL_EVERY):
            await second.report()
        assert handle.commons.ledger.usage("key").models == {"emoji": {"requests": 6}}
        assert handle.commons.ledger.usage("other").models == {"emoji": {"requests": 100}}

    asyncio.run(check())


def test_where_nobody_knows_of_others_a_gateway_says_its_own():
    async def check() -> None:
        handle = Handle()
        handle.faults = [RuntimeError("gone")]
        usage = Usage(CommonsClient(handle, CacheConfig()))
        usage.add("key", "emoji", requests=1)
        assert (await usage.of("key")).models == {"emoji": {"requests": 1}}

    asyncio.run(check())
