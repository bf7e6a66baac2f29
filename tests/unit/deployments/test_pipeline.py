import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from deployments.errors import DeadlineExceeded, Overloaded, StageUnavailable
from deployments.pipeline import MAX_ATTEMPTS, Pipeline, RankedImage
from deployments.token_sampler import Sampling
from model_core.errors import InvalidValue
from tests.unit.deployments.fakes import FakeStage, fake_stages

SAMPLING = Sampling(guidance_scale=4.0, temperature=1.0, top_k=0, top_p=1.0)


def generate(stages: dict[str, FakeStage], images_in_flight: int = 8, **given: Any) -> list[RankedImage]:
    return asyncio.run(_generate(stages, images_in_flight, **given))


async def _generate(stages: dict[str, FakeStage], images_in_flight: int = 8, **given: Any) -> list[RankedImage]:
    defaults = {"n": 1, "best_of": 1, "seed": 0, "negative_prompt": "", "sampling": SAMPLING, "timeout_s": 60.0}
    return await Pipeline(stages, images_in_flight).generate("avocado", **(defaults | given))


def test_an_image_comes_from_prompt_negative_prompt_and_seed():
    (drawn,) = generate(fake_stages(), seed=7, negative_prompt="red")
    assert drawn.codes.tolist() == [7, len("avocado"), len("red")]
    assert (drawn.image == 7).all()
    assert (drawn.seed, drawn.score) == (7, 7.0)


def test_the_best_of_many_come_first():
    drawn = generate(fake_stages(), n=2, best_of=5, seed=10)
    assert [image.seed for image in drawn] == [14, 13]
    assert [image.score for image in drawn] == [14.0, 13.0]


def test_seeds_wrap_around():
    assert {image.seed for image in generate(fake_stages(), n=3, best_of=3, seed=2**32 - 1)} == {2**32 - 1, 0, 1}


def test_without_a_scorer_images_keep_their_order():
    stages = fake_stages()
    del stages["clip_scorer"]
    drawn = generate(stages, n=3, best_of=3, seed=1)
    assert [(image.seed, image.score) for image in drawn] == [(1, None), (2, None), (3, None)]


def test_equal_scores_keep_their_order():
    assert [image.seed for image in generate(fake_stages(), n=2, best_of=2, seed=2**32 - 256)] == [
        2**32 - 255,
        2**32 - 256,
    ]
    tied = fake_stages() | {"clip_scorer": FakeStage(lambda prompt, image: 1.0)}
    assert [image.seed for image in generate(tied, n=3, best_of=3, seed=5)] == [5, 6, 7]


def test_only_a_window_of_images_is_in_flight():
    stages = fake_stages()
    stages["token_sampler"].delay_s = 0.001
    generate(stages, images_in_flight=3, n=10, best_of=10)
    assert stages["token_sampler"].most_running == 3
    assert len(stages["token_sampler"].responses) == 10


@pytest.mark.parametrize("stage", ["text_encoder", "token_sampler", "image_decoder", "clip_scorer"])
def test_a_call_whose_replica_died_is_made_again_with_the_same_result(stage: str):
    undisturbed = generate(fake_stages(), n=2, best_of=4, seed=3)
    stages = fake_stages()
    stages[stage].errors = [ActorDiedError(), ActorDiedError()]
    drawn = generate(stages, n=2, best_of=4, seed=3)
    assert [(image.seed, image.score) for image in drawn] == [(image.seed, image.score) for image in undisturbed]


def test_an_image_lost_on_its_way_to_the_scorer_is_decoded_again():
    lost = RayServeException("the argument is gone")
    lost.__cause__ = ActorDiedError()
    stages = fake_stages()
    stages["clip_scorer"].errors = [lost]
    assert generate(stages, seed=9)[0].score == 9.0
    assert len(stages["image_decoder"].responses) == 2


def test_attempts_are_limited():
    stages = fake_stages()
    stages["token_sampler"].errors = [ActorDiedError() for _ in range(MAX_ATTEMPTS)]
    with pytest.raises(StageUnavailable):
        generate(stages)
    assert len(stages["token_sampler"].responses) == MAX_ATTEMPTS


def test_an_error_of_the_stage_itself_is_not_tried_again_and_arrives_as_it_was():
    stages = fake_stages()
    cause = InvalidValue("top_p must be at most 1", "top_p")
    stages["token_sampler"].errors = [RayTaskError("sample", "remote traceback", cause).as_instanceof_cause()]
    with pytest.raises(InvalidValue) as raised:
        generate(stages)
    assert raised.value is cause
    assert len(stages["token_sampler"].responses) == 1


def test_a_full_queue_is_passed_on_rather_than_tried_again():
    stages = fake_stages()
    stages["token_sampler"].errors = [BackPressureError(5, 5)]
    with pytest.raises(Overloaded) as raised:
        generate(stages)
    assert raised.value.retry_after_s >= 1
    assert len(stages["token_sampler"].responses) == 1


@pytest.mark.parametrize("stage", ["text_encoder", "token_sampler", "image_decoder", "clip_scorer"])
def test_the_deadline_cancels_what_is_still_running(stage: str):
    async def check() -> None:
        stages = fake_stages()
        stages[stage].delay_s = 600
        with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
            await _generate(stages, n=3, best_of=3, timeout_s=0.05)
        await asyncio.sleep(0)
        assert stages[stage].responses
        assert all(response.cancelled for response in stages[stage].responses)
        assert stages[stage].running == 0

    asyncio.run(check())


def test_a_caller_that_leaves_cancels_every_call():
    async def check() -> None:
        stages = fake_stages()
        stages["token_sampler"].delay_s = 600
        request = asyncio.ensure_future(_generate(stages, n=4, best_of=4))
        while stages["token_sampler"].running < 4:
            await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert all(response.cancelled for response in stages["token_sampler"].responses)
        assert stages["token_sampler"].running == 0

    asyncio.run(check())


def test_one_images_error_cancels_the_others():
    async def check() -> None:
        stages = fake_stages()
        stages["token_sampler"].delay_s = 600
        stages["token_sampler"].errors = [BackPressureError(1, 1)]
        with pytest.raises(Overloaded):
            await _generate(stages, n=4, best_of=4)
        await asyncio.sleep(0)
        assert stages["token_sampler"].running == 0

    asyncio.run(check())
