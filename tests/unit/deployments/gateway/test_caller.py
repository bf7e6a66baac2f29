import asyncio

import pytest

from deployments.config import CacheConfig
from deployments.errors import Overloaded
from deployments.gateway.caller import Caller, Key
from deployments.gateway.commons import CommonsClient
from deployments.gateway.quotas import Budget
from model_core.errors import InvalidValue


@pytest.mark.parametrize(
    ("said", "may_find", "may_keep"),
    [
        ("", True, True),
        ("no-store", False, False),
        ("No-Store, max-age=60", False, False),
        ("no-cache", False, True),
        ("max-age=0", False, True),
        ("max-age=60", True, True),
    ],
)
def test_what_may_be_kept_is_the_callers_to_say(said: str, may_find: bool, may_keep: bool):
    caller = Caller(cache_control=said)
    assert (caller.may_find, caller.may_keep) == (may_find, may_keep)


def test_a_request_is_of_the_keys_class_or_of_the_lower_one():
    batch, other = (Caller(Key(digest=b"1", name="one", is_batch=is_batch)) for is_batch in (True, False))
    assert [batch.asks_for_batch(priority) for priority in (None, "batch")] == [True, True]
    for caller in (other, Caller()):
        assert [caller.asks_for_batch(priority) for priority in (None, "batch", "interactive")] == [False, True, False]
    with pytest.raises(InvalidValue, match="for batch work") as raised:
        batch.asks_for_batch("interactive")
    assert raised.value.param == "priority"


def test_what_is_refused_costs_nothing_and_what_is_left_costs_all():
    def clock() -> float:
        return 0.0

    budget = Budget("key", 4, CommonsClient(None, CacheConfig(), clock), clock)

    async def draw(error: BaseException | None = None) -> None:
        caller = Caller(None, budget)
        with caller.settling():
            await caller.charge(4)
            if error:
                raise error

    for error in (Overloaded("busy", 1), ValueError("no")):
        with pytest.raises(type(error)):
            asyncio.run(draw(error))
    with pytest.raises(GeneratorExit):
        asyncio.run(draw(GeneratorExit()))
    with pytest.raises(Overloaded):
        asyncio.run(draw())
