import asyncio
import math
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from deployments.api.errors import answer_to
from deployments.errors import (
    DeadlineExceeded,
    NoRoomForBatch,
    Overloaded,
    StageFailed,
    StageUnavailable,
    UnknownParameter,
)
from deployments.flow import pipeline as pipeline_module
from deployments.flow.calls import MAX_ATTEMPTS
from deployments.flow.pipeline import StagePipeline
from deployments.flow.previews import Preview
from deployments.requests.schemas import SEEDS
from model_core.errors import EngineFailed, InvalidValue, ModelNotFound, NotFinite
from model_core.sampler.sequence import Sampling
from model_core.scorers.ranking import RankedImage
from tests.unit.deployments.fakes import GRID, FakeStage, decoded, encoded, fake_stages

STAGES = ["text_encoder", "token_sampler", "image_decoder", "clip_scorer"]
SAMPLING = Sampling(guidance_scale=4.0, temperature=1.0, top_k=0, top_p=1.0)


def generate(stages: dict[str, FakeStage], images_in_flight: int = 8, **given: Any) -> list[RankedImage]:
    return asyncio.run(_generate(stages, images_in_flight, **given))


async def _generate(stages: dict[str, FakeStage], images_in_flight: int = 8, **given: Any) -> list[RankedImage]:
    return await draw_with(StagePipeline(stages, GRID, images_in_flight), **given)


async def draw_with(pipeline: StagePipeline, negative_prompt: str | None = "", **given: Any) -> list[RankedImage]:
    """The whole way, as the gateway goes it."""
    wanted = options(**given)
    text = await pipeline.encode_prompt("avocado", negative_prompt, timeout_s=wanted["timeout_s"])
    return await pipeline.generate("avocado", text, **wanted)


def options(*, seed: int = 0, best_of: int = 1, **given: Any) -> Any:
    seeds = [(seed + i) % SEEDS for i in range(best_of)]
    defaults = {"n": 1, "best_of": best_of, "seeds": seeds, "sampling": SAMPLING}
    return defaults | {"timeout_s": 60.0} | given


def test_an_image_comes_from_prompt_negative_prompt_and_seed():
    stages = fake_stages()
    (drawn,) = generate(stages, seed=7, negative_prompt="red")
    assert drawn.codes.tolist() == [7, len("avocado"), len("red")]
    assert len(stages["text_encoder"].responses) == 1  # both prompts in one call
    assert (drawn.image == 7).all()
    assert (drawn.seed, drawn.score) == (7, 7.0)


def test_a_prompt_that_is_asked_for_again_is_not_encoded_again():
    """Unless nothing may be kept of it; what was used longest ago makes room."""

    async def check() -> None:
        stages = fake_stages()
        pipeline = StagePipeline(stages, GRID, 8, prompts_max_bytes=2500)  # two of them

        async def calls(*texts: str, **given: Any) -> int:
            before = len(stages["text_encoder"].responses)
            for text in texts:
                found = await pipeline.encode_prompt(text, "", timeout_s=60, **given)
                assert found.words == text
                assert found.condition.values[0, 0] == len(text)
            return len(stages["text_encoder"].responses) - before

        assert await calls("a", "b", "a", "a") == 2
        assert await calls("c", "a") == 1
        assert await calls("b") == 1
        assert await calls("b", "b", may_keep=False) == 2
        assert await calls("d", may_keep=False) == 1 and await calls("d") == 1
        await pipeline.encode_prompt("d", None, timeout_s=60)
        assert len(stages["text_encoder"].responses) == 9

    asyncio.run(check())


def test_batch_work_waits_here_rather_than_in_others_way(monkeypatch: pytest.MonkeyPatch):
    """Never more of it is in the sampler than it takes; a replica that has enough is asked again."""
    monkeypatch.setattr(pipeline_module, "BATCH_DELAYS_S", (0.001, 0.002))

    async def check() -> None:
        stages = fake_stages()
        sampler = stages["token_sampler"]
        sampler.delay_s = 0.001
        sampler.row_errors = [(0, NoRoomForBatch("enough"))] * 5
        pipeline = StagePipeline(stages, GRID, 8, batch_images=3)
        bulk = [draw_with(pipeline, best_of=6, n=6, is_batch=True) for _ in range(2)]
        first, second = await asyncio.gather(*bulk)
        assert sampler.most_running == 3 and len(sampler.responses) == 12 + 5
        assert [image.seed for image in first] == [image.seed for image in second] == [5, 4, 3, 2, 1, 0]
        await draw_with(pipeline, best_of=8)
        assert sampler.most_running == 8  # what is not batch work is not held up
        with pytest.raises(DeadlineExceeded):
            sampler.row_errors = [(0, NoRoomForBatch("enough"))] * 1000
            await draw_with(pipeline, is_batch=True, timeout_s=0.05)

    asyncio.run(check())


def test_without_guidance_only_the_prompt_is_encoded():
    stages = fake_stages()
    (drawn,) = generate(stages, seed=7, negative_prompt=None, sampling=replace(SAMPLING, guidance_scale=1.0))
    assert drawn.codes.tolist() == [7, len("avocado"), 0]


def test_the_text_travels_once_however_many_images_are_drawn():
    put: list[Any] = []
    stages = fake_stages()
    stages["token_sampler"].errors = [ActorDiedError()]
    pipeline = StagePipeline(stages, GRID, 2, put=lambda value: put.append(value) or value)
    asyncio.run(draw_with(pipeline, n=4, best_of=4))
    assert len(put) == 1 and len(stages["token_sampler"].args_given) == 5
    assert all(args[0] is put[0] for args in stages["token_sampler"].args_given)


def test_the_best_of_many_come_first():
    drawn = generate(fake_stages(), n=2, best_of=5, seed=10)
    assert [image.seed for image in drawn] == [14, 13]
    assert [image.score for image in drawn] == [14.0, 13.0]


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
    tied = fake_stages() | {"clip_scorer": FakeStage(lambda prompt, images: [1.0] * len(images))}
    assert [image.seed for image in generate(tied, n=3, best_of=3, seed=5)] == [5, 6, 7]


def test_only_a_window_of_images_is_in_flight():
    stages = fake_stages()
    stages["token_sampler"].delay_s = 0.001
    generate(stages, images_in_flight=3, n=10, best_of=10)
    assert stages["token_sampler"].most_running == 3
    assert len(stages["token_sampler"].responses) == 10


def test_images_may_share_calls_and_are_the_same():
    """Of a sampler, and of decoder and scorer where they are there together; never more are in flight."""
    alone = generate(fake_stages(), n=4, best_of=9, seed=3)

    async def draw(stages: dict[str, FakeStage]) -> list[RankedImage]:
        pipeline = StagePipeline(stages, GRID, 8, images_per_call=4, finished_together=3)
        return await draw_with(pipeline, n=4, best_of=9, seed=3)

    stages = fake_stages()
    together = asyncio.run(draw(stages))
    assert [(image.seed, image.score) for image in together] == [(image.seed, image.score) for image in alone]
    assert [image.codes.tolist() for image in together] == [image.codes.tolist() for image in alone]
    assert [args[1] for args in stages["token_sampler"].args_given] == [(3, 4, 5, 6), (7, 8, 9, 10), (11,)]
    assert stages["token_sampler"].most_running == 2
    assert len(stages["image_decoder"].responses) == len(stages["clip_scorer"].responses) == 2 + 2 + 1


def test_after_a_death_only_what_is_not_there_is_drawn_again():
    async def stream(stages: dict[str, FakeStage]) -> Any:
        pipeline = StagePipeline(stages, GRID, 8, images_per_call=8)
        items = pipeline.stream("a", encoded("a", ""), preview_rows=(1,), preview_images=1, **options(best_of=3, n=3))
        async with aclosing(items):
            return [item async for item in items][-1]

    stages = fake_stages()
    stages["token_sampler"].row_errors = [(1, ActorDiedError())]  # the second and third are whole, the first begun
    assert [image.seed for image in asyncio.run(stream(stages))] == [2, 1, 0]
    assert [args[1] for args in stages["token_sampler"].args_given] == [(0, 1, 2), (0,)]
    (shown,) = stages["token_sampler"].options_given[-1]["shown"]
    assert shown.tolist() == [0, -1, -1]
    stages = fake_stages()
    stages["token_sampler"].row_errors = [(2, ActorDiedError())]  # all are whole
    assert len(asyncio.run(stream(stages))) == 3 and len(stages["token_sampler"].responses) == 1


@pytest.mark.parametrize("stage", STAGES)
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


def remote(cause: Exception) -> Exception:
    """An error as it comes out of a stage's replica."""
    return RayTaskError("call", "remote traceback", cause).as_instanceof_cause()


@pytest.mark.parametrize("is_remote", [True, False], ids=["as Serve raises it", "as it is"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (InvalidValue("top_p must be at most 1", "top_p"), "top_p must be at most 1"),
        (UnknownParameter("steps?", "steps"), "steps"),
        (ModelNotFound("it is gone"), "it is gone"),
        (ValueError("a secret"), ""),
        (KeyError("a secret"), ""),
        (ZeroDivisionError("a secret"), ""),
    ],
    ids=repr,
)
def test_no_error_of_a_stage_is_the_callers_fault(stage: str, cause: Exception, said: str, is_remote: bool):
    """An InvalidValue of the request's own fields was raised before; here it would be called the caller's."""
    stages = fake_stages()
    stages[stage].errors = [remote(cause) if is_remote else cause]
    with pytest.raises(StageFailed, match=f"^The {stage} failed") as raised:
        generate(stages)
    assert said in str(raised.value) and "secret" not in str(raised.value)
    assert not isinstance(raised.value, InvalidValue)
    assert answer_to(raised.value).status == 500 and answer_to(raised.value).param is None
    assert len(stages[stage].responses) == 1  # not tried again


@pytest.mark.parametrize("stage", STAGES)
def test_where_a_stage_is_not_finite_another_replica_is_asked(stage: str):
    stages = fake_stages()
    stages[stage].errors = [remote(NotFinite("The stage computed numbers that are not finite."))]
    (drawn,) = generate(stages, seed=9)
    assert (drawn.seed, drawn.score) == (9, 9.0)


@pytest.mark.parametrize("stage", STAGES)
def test_where_no_replica_is_finite_the_stage_is_named(stage: str):
    stages = fake_stages()
    stages[stage].errors = [remote(NotFinite(f"The {stage} computed NaN.")) for _ in range(MAX_ATTEMPTS)]
    with pytest.raises(StageUnavailable, match=rf"The {stage} computed NaN\)") as raised:
        generate(stages)
    assert answer_to(raised.value).status == 503


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_no_score_that_is_not_finite_is_ranked(score: float):
    stages = fake_stages() | {"clip_scorer": FakeStage(lambda prompt, images: [score] * len(images))}
    with pytest.raises(StageUnavailable, match="clip_scorer gave a score that is not finite"):
        generate(stages, n=2, best_of=4)
    with pytest.raises(StageUnavailable, match="clip_scorer"):
        asyncio.run(_stream(stages))
    pipeline = StagePipeline(stages, GRID, 8, unranked_if_scorer_down=True)
    assert [image.score for image in asyncio.run(draw_with(pipeline, n=2, best_of=2))] == [None, None]


def test_a_full_queue_is_passed_on_rather_than_tried_again():
    stages = fake_stages()
    stages["token_sampler"].errors = [BackPressureError(5, 5)]
    with pytest.raises(Overloaded) as raised:
        generate(stages)
    assert raised.value.retry_after_s >= 1
    assert len(stages["token_sampler"].responses) == 1


@pytest.mark.parametrize("stage", STAGES)
def test_the_deadline_cancels_what_is_still_running(stage: str):
    async def check() -> None:
        stages = fake_stages()
        stages[stage].delay_s = 600
        with pytest.raises(DeadlineExceeded, match=r"0\.5 s"):
            await _generate(stages, n=3, best_of=3, timeout_s=0.5)
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


def test_the_sampler_is_told_whose_image_it_is_and_how_long_it_may_take():
    stages = fake_stages()
    fixed = np.array([-1, 3, -1], np.int32)
    generate(stages, n=2, best_of=2, fixed_codes=fixed, timeout_s=30.0)
    first, second = stages["token_sampler"].options_given
    assert first["request_id"] == second["request_id"] != ""
    assert first["fixed_codes"] is fixed
    assert 0 < first["timeout_s"] <= 30
    generate(stages)
    assert stages["token_sampler"].options_given[-1]["request_id"] != first["request_id"]


def test_an_image_is_turned_into_codes():
    stages = fake_stages() | {"image_decoder": FakeStage(lambda image: image[0, :, 0])}
    stages["image_decoder"].errors = [ActorDiedError()]
    image = np.full((2, 2, 3), 7, np.uint8)
    codes = asyncio.run(StagePipeline(stages, GRID, 8).encode_image(image, timeout_s=5.0))
    assert codes.tolist() == [7, 7]


def test_an_image_that_takes_too_long_to_encode_is_given_up():
    stages = fake_stages()
    stages["image_decoder"].delay_s = 600
    with pytest.raises(DeadlineExceeded):
        asyncio.run(StagePipeline(stages, GRID, 8).encode_image(np.zeros((2, 2, 3), np.uint8), timeout_s=0.01))
    assert stages["image_decoder"].responses[0].cancelled


async def _stream(
    stages: dict[str, FakeStage], *, rows: tuple[int, ...] = (1, 2), images: int = 1, **given: Any
) -> Any:
    pipeline, wanted = StagePipeline(stages, GRID, 8), options(**given)
    text = await pipeline.encode_prompt("avocado", "", timeout_s=wanted["timeout_s"])
    streaming = pipeline.stream("avocado", text, preview_rows=rows, preview_images=images, **wanted)
    async with aclosing(streaming) as items:
        return [item async for item in items]


def test_a_stream_ends_with_what_generate_returns():
    *previews, drawn = asyncio.run(_stream(fake_stages(), n=2, best_of=4, seed=3))
    expected = generate(fake_stages(), n=2, best_of=4, seed=3)
    assert [(image.seed, image.score, image.codes.tolist()) for image in drawn] == [
        (image.seed, image.score, image.codes.tolist()) for image in expected
    ]
    assert all(isinstance(preview, Preview) and (preview.image == 3).all() for preview in previews)


def test_only_the_first_images_are_previewed_and_streamed():
    stages = fake_stages()
    stages["token_sampler"].delay_s = 0.01  # longer than a preview takes
    *previews, _ = asyncio.run(_stream(stages, images=2, n=1, best_of=4, seed=3))
    assert {preview.image_index for preview in previews} == {0, 1}
    for index in (0, 1):
        assert [preview.num_codes for preview in previews if preview.image_index == index] == [1, 2]
    assert [options["rows"] for options in stages["token_sampler"].options_given] == [[(1, 2)], [(1, 2)], [()], [()]]


def test_after_a_death_a_stream_goes_on_from_what_was_shown():
    stages = fake_stages()
    stages["token_sampler"].delay_s = 0.01
    stages["token_sampler"].row_errors = [(1, ActorDiedError()), (0, ActorDiedError())]
    *previews, (drawn,) = asyncio.run(_stream(stages, seed=5))
    assert [preview.num_codes for preview in previews] == [1, 2]
    assert drawn.codes.tolist() == [5, len("avocado"), 0]
    shown = [options["shown"][0] for options in stages["token_sampler"].options_given]
    assert shown[0] is None
    assert [codes.tolist() for codes in shown[1:]] == [[5, -1, -1]] * 2


def test_a_slow_decoder_skips_previews_and_holds_up_no_drawing():
    async def check() -> None:
        stages = fake_stages()
        finals = asyncio.Event()
        decode = stages["image_decoder"]
        previewed = []

        async def slow(codes: np.ndarray) -> np.ndarray:
            if not previewed:  # the first call is the preview of row 1: it lasts until the picture is drawn
                previewed.append(codes)
                await finals.wait()
            finals.set()
            return decoded(codes)

        decode._call = slow  # type: ignore[method-assign]
        *previews, (drawn,) = await _stream(stages, rows=(1, 2), seed=5)
        assert drawn.codes.tolist() == [5, len("avocado"), 0]
        assert [preview.num_codes for preview in previews] in ([], [1])  # row 2 came while row 1 was decoded
        assert len(decode.responses) == 2

    asyncio.run(check())


def test_a_slow_reader_misses_previews_and_holds_up_no_drawing():
    async def check() -> None:
        stages = fake_stages()
        items = StagePipeline(stages, GRID, 8).stream(
            "avocado", encoded("avocado", ""), preview_rows=(1, 2), preview_images=1, **options(seed=5)
        )
        async with aclosing(items):
            first: Any = await anext(items)
            assert first.num_codes == 1
            while len(stages["clip_scorer"].responses) == 0 or stages["clip_scorer"].running:
                await asyncio.sleep(0)  # the picture is finished while nobody reads
            rest = [item async for item in items]
            assert isinstance(rest[-1], list)
            assert len(rest) <= 2

    asyncio.run(check())


@pytest.mark.parametrize("error", [BackPressureError(1, 1), NotFinite("NaN"), RuntimeError("no")], ids=repr)
def test_a_preview_that_cannot_be_made_is_left_out(error: Exception):
    stages = fake_stages()
    stages["token_sampler"].delay_s = 0.01
    stages["image_decoder"].errors = [error]
    *previews, (drawn,) = asyncio.run(_stream(stages, seed=5))
    assert [preview.num_codes for preview in previews] == [2]
    assert drawn.seed == 5


def test_closing_a_stream_cancels_every_call():
    async def check() -> None:
        stages = fake_stages()
        stages["clip_scorer"].delay_s = 600
        async with (
            aclosing(
                StagePipeline(stages, GRID, 8).stream(
                    "avocado",
                    encoded("avocado", ""),
                    preview_rows=(1,),
                    preview_images=2,
                    **options(n=3, best_of=3, timeout_s=600.0),
                )
            ) as items,
            asyncio.timeout(60),
        ):  # the deadline would end the calls as well
            await anext(items)
            stages["token_sampler"].delay_s = 600
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for stage in stages.values():
            assert stage.running == 0
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(check())


@pytest.mark.parametrize("stage", STAGES)
def test_a_streams_deadline_cancels_what_is_still_running(stage: str):
    async def check() -> None:
        stages = fake_stages()
        stages[stage].delay_s = 600
        with pytest.raises(DeadlineExceeded):
            await _stream(stages, images=2, n=3, best_of=3, timeout_s=0.5)
        await asyncio.sleep(0)
        assert stages[stage].responses and stages[stage].running == 0

    asyncio.run(check())


def test_an_error_ends_a_stream_as_it_ends_a_reply():
    stages = fake_stages()
    cause = InvalidValue("fixed_codes are too long", "fixed_codes")
    stages["token_sampler"].row_errors = [(1, remote(cause))]
    with pytest.raises(StageFailed, match="fixed_codes are too long"):
        asyncio.run(_stream(stages))


def test_a_replica_whose_engine_failed_is_left_for_another():
    stages = fake_stages()
    stages["token_sampler"].errors = [remote(EngineFailed("a step failed"))]
    assert generate(stages, seed=9)[0].score == 9.0


def test_a_request_wakes_all_sleepy_stages_at_once():
    async def check() -> None:
        stages = fake_stages()
        stages["text_encoder"].delay_s = 600
        pipeline = StagePipeline(stages, GRID, 8, sleepy=["token_sampler", "clip_scorer"])
        request = asyncio.ensure_future(draw_with(pipeline))
        while not stages["text_encoder"].running:
            await asyncio.sleep(0)
        assert {name: stage.times_woken for name, stage in stages.items()} == {
            "text_encoder": 0,
            "token_sampler": 1,
            "image_decoder": 0,
            "clip_scorer": 1,
        }
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)

    asyncio.run(check())


def test_where_the_operator_allows_it_a_dead_scorer_costs_only_the_order():
    async def check() -> None:
        stages = fake_stages()
        stages["clip_scorer"].errors = [ActorDiedError() for _ in range(3 * MAX_ATTEMPTS)]
        pipeline = StagePipeline(stages, GRID, 1, unranked_if_scorer_down=True)
        drawn = await draw_with(pipeline, n=4, best_of=4, seed=5)
        assert [(image.seed, image.score) for image in drawn] == [(seed, None) for seed in (5, 6, 7, 8)]
        assert len(stages["clip_scorer"].responses) == 3 * MAX_ATTEMPTS  # then it is left alone for a while

    asyncio.run(check())


def test_the_scorer_tells_what_a_picture_shows():
    async def told(stages: dict[str, FakeStage], **settings: Any) -> str:
        pipeline = StagePipeline(stages, GRID, 1, **settings)
        return await pipeline.tell(np.full((2, 2, 3), 7, np.uint8), timeout_s=60.0)

    stages = fake_stages()
    stages["clip_scorer"].errors = [ActorDiedError()]  # asked again
    assert asyncio.run(told(stages)) == "a picture of 7"
    stages["clip_scorer"].errors = [ActorDiedError() for _ in range(2 * MAX_ATTEMPTS)]
    with pytest.raises(StageUnavailable):
        asyncio.run(told(stages))
    assert asyncio.run(told(stages, unranked_if_scorer_down=True)) == ""
    del stages["clip_scorer"]
    assert asyncio.run(told(stages)) == ""


def test_a_stage_that_always_fails_is_left_alone_and_others_go_on():
    async def check() -> None:
        stages = fake_stages()
        stages["token_sampler"].errors = [ActorDiedError() for _ in range(3 * MAX_ATTEMPTS)]
        pipeline = StagePipeline(stages, GRID, 1)
        for _ in range(3):
            with pytest.raises(StageUnavailable, match="died"):
                await draw_with(pipeline)
        with pytest.raises(StageUnavailable, match="token_sampler keeps failing"):
            await draw_with(pipeline)
        assert len(stages["token_sampler"].responses) == 3 * MAX_ATTEMPTS
        assert await pipeline.encode_image(np.zeros((2, 2, 3), np.uint8), timeout_s=10) is not None

    asyncio.run(check())


def test_only_failures_in_a_row_count():
    async def check() -> None:
        stages = fake_stages()
        pipeline = StagePipeline(stages, GRID, 1)
        for _ in range(4):
            stages["token_sampler"].errors = [ActorDiedError() for _ in range(MAX_ATTEMPTS)]
            with pytest.raises(StageUnavailable, match="died"):
                await draw_with(pipeline)
            await draw_with(pipeline)

    asyncio.run(check())


def test_a_scorer_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline_module, "SCORER_PATIENCE_S", 0.01)
    stages = fake_stages()
    stages["clip_scorer"].delay_s = 600
    pipeline = StagePipeline(stages, GRID, 8, unranked_if_scorer_down=True)
    (drawn,) = asyncio.run(draw_with(pipeline))
    assert drawn.score is None
    assert all(response.cancelled for response in stages["clip_scorer"].responses)
