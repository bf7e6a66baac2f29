"""Budgets of one or several gateways on one ledger, on a clock that stands still until told."""

import asyncio
from typing import Any

import pytest

from deployments.config import CacheConfig
from deployments.errors import Overloaded
from deployments.gateway.commons import Commons, CommonsClient
from deployments.gateway.quotas import UNUSED_S, Quotas, duration
from model_core.errors import InvalidValue
from tests.unit.deployments.gateway.test_commons import Handle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def gateways(count: int = 2) -> tuple[list[Quotas], Handle, Clock]:
    """So many gateways that share a ledger."""
    clock, handle = Clock(), Handle()
    handle.commons = Commons(CacheConfig(), clock)
    return [Quotas(CommonsClient(handle, CacheConfig()), clock) for _ in range(count)], handle, clock


async def drawn(quotas: Quotas, images: int, rate: int = 60) -> bool:
    try:
        await quotas.budget("key", rate).take(images)
    except Overloaded:
        return False
    return True


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(check: Any) -> None:
    asyncio.run(check())


def test_a_key_has_one_budget_however_many_gateways_it_asks():
    async def check() -> None:
        (first, second), _, clock = gateways()
        images = 0
        for _ in range(100):
            for quotas in (first, second):
                images += 3 * await drawn(quotas, 3)
                await settle()
        assert 48 <= images <= 60  # what one holds in advance is not the other's
        clock.now += UNUSED_S
        before = images
        for _ in range(100):
            await first.rest()
            await second.rest()
            images += await drawn(first, 1) + await drawn(second, 1)
            await settle()
        assert images > before and images <= 60 + 2  # two seconds have brought two more

    run(check)


def test_what_a_gateway_holds_for_nothing_goes_to_the_others():
    async def check() -> None:
        (first, second), _, clock = gateways()
        assert await drawn(first, 10)  # and it takes twice as many in advance
        await settle()
        clock.now += UNUSED_S
        assert not await drawn(second, 50)
        await first.rest()
        assert await drawn(second, 50)

    run(check)


def test_who_asks_often_waits_for_no_call():
    """A request is let through by what was taken in advance, and more is fetched behind it."""

    async def check() -> None:
        (quotas,), handle, clock = gateways(1)
        assert await drawn(quotas, 1, 600)
        await settle()
        for _ in range(200):
            clock.now += 0.1
            taking = asyncio.ensure_future(drawn(quotas, 1, 600))
            await asyncio.sleep(0)
            assert taking.done() and taking.result()  # at once
            await settle()
        assert handle.num_calls < 60

    run(check)


def test_what_a_dead_gateway_had_taken_is_spent_and_no_more():
    async def check() -> None:
        (first, second), _, clock = gateways()
        assert await drawn(first, 20)
        await settle()
        left = 60 - 20 - first.budget("key", 60)._credit
        assert left >= 20
        del first
        assert await drawn(second, left)
        assert not await drawn(second, 1)
        clock.now += 60
        assert await drawn(second, 60)

    run(check)


@pytest.mark.parametrize("is_forgetful", [False, True])
def test_without_a_ledger_or_with_a_new_one_a_gateway_goes_by_what_it_let_through(is_forgetful: bool):
    async def check() -> None:
        (quotas,), handle, clock = gateways(1)
        assert await drawn(quotas, 50)
        await settle()
        if is_forgetful:
            handle.commons = Commons(CacheConfig(), clock)
        else:
            handle.faults = [RuntimeError("it is gone")] * 100
        assert not await drawn(quotas, 11)
        assert await drawn(quotas, 10)
        assert not await drawn(quotas, 1)

    run(check)


def test_refusals_say_how_much_there_is_and_when_there_is_enough():
    async def check() -> None:
        (first, second), _, _ = gateways()
        await first.budget("key", 60).take(50)
        said = "60 images drawn in a minute; there is room for .*, and this request wants 40"
        with pytest.raises(Overloaded, match=said) as refused:
            await second.budget("key", 60).take(40)
        assert refused.value.retry_after_s == 30
        with pytest.raises(InvalidValue, match="60 images") as wrong:
            await second.budget("key", 60).take(61)
        assert wrong.value.param == "n"

    run(check)


def test_what_comes_of_nothing_is_given_back():
    async def check() -> None:
        for is_shared in (False, True):
            (quotas,), _, clock = gateways(1)
            if not is_shared:
                quotas = Quotas(CommonsClient(None, CacheConfig(), clock), clock)
            budget = quotas.budget("key", 60)
            await budget.take(60)
            assert budget.left == 0
            budget.give_back(60)
            assert budget.left == 60 and budget.full_in_s == 0
            await budget.take(60)

    run(check)


def test_times_are_said_as_openai_says_them():
    assert [duration(seconds) for seconds in (0, 0.0123, 1, 1.2, 60, 361)] == ["0s", "13ms", "1s", "2s", "1m0s", "6m1s"]
