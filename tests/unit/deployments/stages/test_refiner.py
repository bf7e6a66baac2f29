"""The stage as Serve runs it, without Serve: what it yields, and that turns, deadlines and failures are kept."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from deployments.config import RefinerConfig
from deployments.errors import DeadlineExceeded
from deployments.stages import refiner as module
from deployments.stages.refiner import RefinerDeployment
from model_core.errors import NotFinite
from model_core.refine.values import Refinement

ASKED = Refinement(texts=(("one", 1.0),), seed=0, size=(2, 2))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RefinerDeployment]:
    """Makes a stage that computes as it is told."""

    def make(refine: Callable[..., Iterator[Any]]) -> RefinerDeployment:
        monkeypatch.setattr(module, "_load", lambda model, config: refine)
        return RefinerDeployment("model", RefinerConfig(steps_per_advance=3, niceness=0))

    return make


async def all_of(stage: RefinerDeployment, **options: Any) -> list[Any]:
    async with aclosing(stage.refine(ASKED, **options)) as pictures:
        return [each async for each in pictures]


def test_it_yields_what_comes_and_passes_on_what_is_given(stage: Callable[..., RefinerDeployment]):
    given: list[Any] = []

    def refine(*args: Any) -> Iterator[int]:
        given.extend(args)
        yield from (1, 2)

    image = np.zeros((2, 2, 3), np.uint8)
    made = stage(refine)
    assert asyncio.run(all_of(made, image=image)) == [1, 2]
    assert (given[0], given[2], given[3]) == (ASKED, None, 3) and given[1] is image
    made.check_health()


def test_one_is_computed_at_a_time_and_all_get_their_turns(stage: Callable[..., RefinerDeployment]):
    running, order = [0], []

    def refine(*_: Any) -> Iterator[int]:
        for turn in range(3):
            assert running[0] == 0 and threading.current_thread().name.startswith("refiner")
            running[0] += 1
            time.sleep(0.005)  # what a step takes
            running[0] -= 1
            order.append(turn)
            yield turn

    made = stage(refine)

    async def both() -> None:
        assert await asyncio.gather(all_of(made), all_of(made)) == [[0, 1, 2]] * 2

    asyncio.run(both())
    assert order == [0, 0, 1, 1, 2, 2]


def test_time_that_is_up_ends_it_between_two_turns(stage: Callable[..., RefinerDeployment]):
    turns = []

    def refine(*_: Any) -> Iterator[int]:
        while True:
            time.sleep(0.01)  # what a step takes
            turns.append(1)
            yield 1

    with pytest.raises(DeadlineExceeded):
        asyncio.run(all_of(stage(refine), timeout_s=0.05))
    made = len(turns)
    time.sleep(0.05)  # several turns, had it not ended
    assert len(turns) <= made + 1  # the one that was being computed


def test_numbers_that_are_not_finite_make_it_unwell(stage: Callable[..., RefinerDeployment]):
    def refine(*_: Any) -> Iterator[int]:
        yield 1
        raise NotFinite("pixels that are not finite")

    made = stage(refine)
    with pytest.raises(NotFinite):
        asyncio.run(all_of(made))
    with pytest.raises(NotFinite):
        made.check_health()
