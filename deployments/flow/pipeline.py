"""One request's way through the stages: prompt → encoder states → image codes → pixels → ranked images.

The one owner of deadlines, of the number of images in flight, and of cancellation: what a request has started ends with
it. Knows nothing of HTTP; how a call is made again is in `calls.py`, how a picture is shown early in `previews.py`.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, Unpack

import numpy as np

from deployments.errors import DeadlineExceeded, StageUnavailable
from deployments.flow.calls import Result, all_of, result, retried
from deployments.flow.circuit import Circuit
from deployments.flow.previews import Preview, Previews
from deployments.stages.text_encoder import EncodedPrompt
from deployments.stages.token_sampler import Sampling
from deployments.telemetry.metrics import PipelineMetrics
from model_core.scorers.ranking import RankedImage, rank

SCORER_PATIENCE_S = 10.0  # once the image is there, and where images may go unranked


class GenerateOptions(TypedDict):
    """What is to be drawn, beside the prompt.

    Attributes:
      n: images to return.
      best_of: images to draw.
      seeds: one for each image drawn, below 2^32.
      negative_prompt: what guidance leads away from; "" is no text at all.
      timeout_s: how long it may take, all in all.
      fixed_codes: int32 [N], what every image has to have, and -1 where codes are drawn; None fixes none.
    """

    n: int
    best_of: int
    seeds: Sequence[int]
    negative_prompt: str
    sampling: Sampling
    timeout_s: float
    fixed_codes: NotRequired[np.ndarray | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shared:
    """What the images of a request share on their way."""

    prompt: str
    text: EncodedPrompt
    negative: EncodedPrompt | None  # without guidance there is none
    sampling: Sampling
    fixed_codes: np.ndarray | None
    request_id: str
    time_left_s: Callable[[], float]


class StagePipeline:
    """Draws ranked images with the stages of one model.

    Args:
      stages: handles by stage name; without `clip_scorer` images come unranked, in the order of their seeds.
      images_in_flight: how many images of one request are in the stages at a time.
      model: its id, for what is counted.
      sleepy: stages that may have scaled to zero; a request wakes them all at once, not each when its turn comes.
      unranked_if_scorer_down: whether images are then returned without scores, rather than an error.
    """

    def __init__(
        self,
        stages: Mapping[str, Any],
        images_in_flight: int,
        model: str = "",
        *,
        sleepy: Sequence[str] = (),
        unranked_if_scorer_down: bool = False,
    ):
        self._encoder = stages["text_encoder"]
        self._sampler = stages["token_sampler"]
        self._streaming_sampler = self._sampler.options(stream=True)
        self._decoder = stages["image_decoder"]
        self._scorer = stages.get("clip_scorer")
        self._images_in_flight = images_in_flight
        self._sleepy = [stages[name] for name in sleepy]
        self._scorer_may_fail = unranked_if_scorer_down
        self._circuits = {stage: Circuit() for stage in stages}
        self._metrics = PipelineMetrics(model)

    async def generate(self, prompt: str, **options: Unpack[GenerateOptions]) -> list[RankedImage]:
        """Draws `best_of` images and returns the best `n`, best first.

        Raises:
          DeadlineExceeded: it took longer than `timeout_s`.
          Overloaded: a stage's queue is full.
          StageUnavailable: a stage is down, or its replicas died again and again.
          InvalidValue: a stage refused a value.
        """
        return await self._generate(prompt, options, self._sample)

    async def stream(
        self, prompt: str, *, preview_rows: tuple[int, ...], preview_images: int, **options: Unpack[GenerateOptions]
    ) -> AsyncGenerator[Preview | list[RankedImage], None]:
        """Draws as `generate` does, and raises what it raises; shows pictures while they are drawn.

        Previews never hold up the drawing: where the decoder or the reader is slow, they are skipped. Close the
        generator (`contextlib.aclosing`) to cancel everything that it has started.

        Args:
          preview_rows: after how many rows of codes, in rising order.
          preview_images: of how many images, from the first seed on.

        Yields:
          Previews, those of one image with more and more codes, and at the end the ranked images.
        """
        async with Previews(lambda codes: result(self._decoder.decode.remote(codes))) as previews:

            async def sample(shared: _Shared, index: int, seed: int) -> np.ndarray:
                if index >= preview_images:
                    return await self._sample(shared, index, seed)
                return await self._sample_rows(shared, seed, preview_rows, lambda codes: previews.offer(index, codes))

            drawing = asyncio.create_task(self._generate(prompt, options, sample))
            drawing.add_done_callback(lambda _: previews.close())
            try:
                while (preview := await previews.next()) is not None:
                    yield preview
                yield await drawing
            finally:
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)

    async def encode_image(self, image: np.ndarray, *, timeout_s: float) -> np.ndarray:
        """Turns an image of the model's size, uint8 [height, width, 3], into codes int32 [N]; raises as `generate`."""
        async with _deadline(timeout_s):
            return await self._call("image_decoder", lambda: result(self._decoder.encode.remote(image)))

    async def _generate(
        self, prompt: str, options: GenerateOptions, sample: Callable[[_Shared, int, int], Awaitable[np.ndarray]]
    ) -> list[RankedImage]:
        for stage in self._sleepy:
            stage.wake.remote()
        async with _deadline(options["timeout_s"]) as time_left_s:
            is_guided = options["sampling"].guidance_scale != 1.0
            words = (prompt, options["negative_prompt"]) if is_guided else (prompt,)
            text, *negative = await self._call("text_encoder", lambda: result(self._encoder.encode.remote(words)))
            shared = _Shared(
                prompt=prompt,
                text=text,
                negative=negative[0] if negative else None,
                sampling=options["sampling"],
                fixed_codes=options.get("fixed_codes"),
                request_id=secrets.token_hex(8),
                time_left_s=time_left_s,
            )
            window = asyncio.Semaphore(self._images_in_flight)

            async def draw(index: int, seed: int) -> RankedImage:
                async with window:
                    codes = await sample(shared, index, seed)
                    image, score = await self._finish(codes, prompt)
                return RankedImage(image=image, codes=codes, seed=seed, score=score)

            drawn = await all_of(draw(*one) for one in zip(range(options["best_of"]), options["seeds"], strict=True))
        if self._scorer and any(image.score is None for image in drawn):
            self._metrics.unranked()
        return rank(drawn)[: options["n"]]

    async def _sample(self, shared: _Shared, index: int, seed: int) -> np.ndarray:
        def sample() -> Awaitable[np.ndarray]:
            return result(
                self._sampler.sample.remote(
                    shared.text,
                    shared.negative,
                    seed,
                    shared.sampling,
                    fixed_codes=shared.fixed_codes,
                    request_id=shared.request_id,
                    timeout_s=shared.time_left_s(),
                )
            )

        return await self._call("token_sampler", sample)

    async def _sample_rows(
        self, shared: _Shared, seed: int, rows: tuple[int, ...], on_codes: Callable[[np.ndarray], None]
    ) -> np.ndarray:
        """Samples with codes shown as they come. After a replica's death, another goes on from what has been shown."""
        shown: np.ndarray | None = None

        async def sample() -> np.ndarray:
            nonlocal shown
            codes = self._streaming_sampler.sample_rows.remote(
                shared.text,
                shared.negative,
                seed,
                shared.sampling,
                rows=rows,
                fixed_codes=shared.fixed_codes,
                shown=shown,
                request_id=shared.request_id,
                timeout_s=shared.time_left_s(),
            )
            whole = None
            try:
                async for known in codes:  # to its end: Serve neither counts nor logs a stream that is left before
                    if (known >= 0).all():
                        whole = known
                    else:
                        shown = known
                        on_codes(known)
            finally:
                codes.cancel()
            assert whole is not None  # the last codes of a stream are a whole picture's
            return whole

        return await self._call("token_sampler", sample)

    async def _finish(self, codes: np.ndarray, prompt: str) -> tuple[np.ndarray, float | None]:
        """Turns codes into an image and its score."""
        scorer = self._scorer
        if scorer:
            try:
                image, score = await self._call("clip_scorer", lambda: self._decode_and_score(codes, scorer, prompt))
            except (StageUnavailable, TimeoutError):
                if not self._scorer_may_fail:
                    raise
            else:
                self._metrics.scored(score)
                return image, score
        return await self._call("image_decoder", lambda: result(self._decoder.decode.remote(codes))), None

    async def _decode_and_score(self, codes: np.ndarray, scorer: Any, prompt: str) -> tuple[np.ndarray, float]:
        """The image goes from decoder to scorer by reference, and only once is it read here."""
        image = self._decoder.decode.remote(codes)
        score = scorer.score.remote(prompt, image)
        try:
            pixels = await image
            async with asyncio.timeout(SCORER_PATIENCE_S if self._scorer_may_fail else None):
                return pixels, await score
        except BaseException:
            image.cancel()
            score.cancel()
            raise

    async def _call(self, stage: str, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Calls a stage, unless it has failed so often that it is left alone for a while."""
        circuit = self._circuits[stage]
        if not circuit.allows():
            raise StageUnavailable(f"The {stage} keeps failing and is left alone for a while. Try again later.")
        try:
            answer = await retried(attempt, on_retry=lambda: self._metrics.retried(stage))
        except (StageUnavailable, TimeoutError):
            circuit.failed()
            raise
        circuit.succeeded()
        return answer


@contextlib.asynccontextmanager
async def _deadline(timeout_s: float) -> AsyncIterator[Callable[[], float]]:
    """Ends the block after so many seconds; gives the seconds that are left."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    try:
        async with asyncio.timeout_at(end):
            yield lambda: end - loop.time()
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"The request took longer than {timeout_s:g} s and was stopped. Ask for fewer images (n, best_of), or "
            "raise the gateway's request_timeout_s."
        ) from error
