import asyncio

import pytest

from deployments.errors import Overloaded
from deployments.gateway.caller import Budget, Caller


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


def test_what_is_refused_costs_nothing_and_what_is_left_costs_all():
    budget = Budget(4, lambda: 0.0)

    async def draw(error: BaseException | None = None) -> None:
        caller = Caller("key", budget)
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
