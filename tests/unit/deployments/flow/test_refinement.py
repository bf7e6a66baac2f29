import asyncio
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayActorError

from deployments.config import RefinerConfig
from deployments.errors import DeadlineExceeded, StageFailed, StageUnavailable
from deployments.flow.calls import MAX_ATTEMPTS
from deployments.flow.refinement import RefinerPipeline, Shown
from model_core.refine.values import Refinement
from tests.unit.deployments.fakes import FakeRefiner

SIZE = (2, 2)


def asked(seed: int = 0, steps: int = 6) -> Refinement:
    return Refinement(texts=(("avocado", 1.0),), seed=seed, size=SIZE, steps=steps)


def grey(value: int) -> np.ndarray:
    return np.full((*SIZE, 3), value, np.uint8)


def refine(stage: FakeRefiner, starts: Any, *, shown: tuple[int, ...] = (), timeout_s: float = 9) -> list[Any]:
    async def run() -> list[Any]:
        pipeline = RefinerPipeline(stage, RefinerConfig(), SIZE)
        refinements = [asked(seed) for seed in range(len(starts))]
        async with aclosing(pipeline.stream(starts, refinements, shown=shown, timeout_s=timeout_s)) as items:
            return [item async for item in items]

    return asyncio.run(run())


def test_pictures_come_best_first_with_their_seeds():
    (images,) = refine(FakeRefiner(), [grey(10), None, grey(30)])
    assert [(image.seed, image.score, int(image.image[0, 0, 0])) for image in images] == [
        (1, 106.0, 106),
        (2, 36.0, 36),
        (0, 16.0, 16),
    ]


def test_a_picture_is_shown_after_the_steps_asked_for_or_soon_after_and_never_the_last_one():
    *shown, _ = refine(FakeRefiner(), [grey(10)], shown=(1, 3, 4, 6))
    assert all(isinstance(item, Shown) for item in shown)
    assert [(item.image_index, item.step, int(item.image[0, 0, 0])) for item in shown] == [(0, 2, 12), (0, 4, 14)]


def test_where_a_replica_died_another_goes_on_from_the_last_state_and_shows_nothing_twice():
    stage = FakeRefiner()
    stage.row_errors = [(2, RayActorError()), (1, RayActorError())]
    *shown, images = refine(stage, [grey(10)], shown=(1, 2, 3, 4, 5))
    assert images[0].score == 16.0
    assert [item.step for item in shown] == [2, 4]
    states = [options["state"] for options in stage.options_given]
    assert [state and state.step for state in states] == [None, 2, 4]
    assert [args[1] is None for args in stage.args_given] == [False, True, True]  # the picture travels once


def test_a_replica_that_died_after_the_last_step_leaves_nothing_to_do():
    stage = FakeRefiner()
    stage.row_errors = [(4, RayActorError())]
    ((image,),) = refine(stage, [None])
    assert image.score == 106.0


def test_what_dies_again_and_again_is_given_up_and_what_fails_is_told():
    stage = FakeRefiner()
    stage.row_errors = [(1, RayActorError())] * MAX_ATTEMPTS
    with pytest.raises(StageUnavailable):
        refine(stage, [None])
    stage = FakeRefiner()
    stage.errors = [ValueError("secret")]
    with pytest.raises(StageFailed, match="The refiner failed"):
        refine(stage, [None])


def test_time_that_is_up_cancels_what_is_out():
    stage = FakeRefiner()
    stage.delay_s = 5
    with pytest.raises(DeadlineExceeded):
        refine(stage, [None, None], timeout_s=0.05)
    assert [response.cancelled for response in stage.responses] == [True, True]
