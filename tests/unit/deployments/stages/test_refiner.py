"""The stage as Serve runs it, without Serve: what it yields, and that turns, deadlines and failures are kept."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from deployments.config import RefinerConfig
from deployments.errors import DeadlineExceeded
from deployments.stages import refiner as module
from deployments.stages.refiner import RefinerDeployment
from deployments.telemetry import metrics as telemetry
from model_core.errors import NotFinite
from model_core.refine.values import Refinement, State

ASKED = Refinement(texts=(("one", 1.0),), seed=0, size=(2, 2))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RefinerDeployment]:
    """Makes a stage that computes as it is told."""

    def make(refine: Callable[..., Iterator[Any]]) -> RefinerDeployment:
        monkeypatch.setattr(module, "_load", lambda model, config: refine)
        return RefinerDeployment("model", RefinerConfig(steps_per_advance=3, niceness=0))

    return make


@dataclass
class Shown:
    """A picture after so many steps."""

    step: int


async def all_of(stage: RefinerDeployment, **options: Any) -> list[int]:
    async with aclosing(stage.refine(ASKED, **options)) as pictures:
        return [each.step async for each in pictures]


def test_it_yields_what_comes_and_passes_on_what_is_given(stage: Callable[..., RefinerDeployment]):
    given: list[Any] = []

    def refine(*args: Any) -> Iterator[Shown]:
        given.extend(args)
        yield from (Shown(1), Shown(2))

    image = np.zeros((2, 2, 3), np.uint8)
    made = stage(refine)
    assert asyncio.run(all_of(made, image=image)) == [1, 2]
    assert (given[0], given[2], given[3]) == (ASKED, None, 3) and given[1] is image
    made.check_health()


def test_one_is_computed_at_a_time_and_all_get_their_turns(stage: Callable[..., RefinerDeployment]):
    running, order = [0], []

    def refine(*_: Any) -> Iterator[Shown]:
        for turn in range(3):
            assert running[0] == 0 and threading.current_thread().name.startswith("refiner")
            running[0] += 1
            time.sleep(0.005)  # what a step takes
            running[0] -= 1
            order.append(turn)
            yield Shown(turn)

    made = stage(refine)

    async def both() -> None:
        assert await asyncio.gather(all_of(made), all_of(made)) == [[0, 1, 2]] * 2

    asyncio.run(both())
    assert order == [0, 0, 1, 1, 2, 2]


def test_time_that_is_up_ends_it_between_two_turns(stage: Callable[..., RefinerDeployment]):
    turns = []

    def refine(*_: Any) -> Iterator[Shown]:
        while True:
            time.sleep(0.01)  # what a step takes
            turns.append(1)
            yield Shown(1)

    with pytest.raises(DeadlineExceeded):
        asyncio.run(all_of(stage(refine), timeout_s=0.05))
    made = len(turns)
    time.sleep(0.05)  # several turns, had it not ended
    assert len(turns) <= made + 1  # the one that was being computed


def test_numbers_that_are_not_finite_make_it_unwell(stage: Callable[..., RefinerDeployment]):
    def refine(*_: Any) -> Iterator[Shown]:
        yield Shown(1)
        raise NotFinite("pixels that are not finite")

    made = stage(refine)
    with pytest.raises(NotFinite):
        asyncio.run(all_of(made))
    with pytest.raises(NotFinite):
        made.check_health()


def test_steps_are_counted_once_whoever_made_them(
    stage: Callable[..., RefinerDeployment], monkeypatch: pytest.MonkeyPatch
):
    """Those that another replica had made were counted there."""
    counted: list[float] = []
    monkeypatch.setattr(telemetry, "_add", lambda counter, amount, labels=None: counted.append(amount))
    nothing = np.zeros((1, 1, 1), np.float32)
    state = State(step=6, vectors=nothing, mean=nothing, square=nothing, start=nothing)
    asyncio.run(all_of(stage(lambda *_: iter([Shown(9), Shown(10)])), state=state))
    asyncio.run(all_of(stage(lambda *_: iter([Shown(0), Shown(3)]))))
    assert counted == [3, 1, 0, 3]
