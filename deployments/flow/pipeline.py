"""One request's way through the stages: prompt → conditions → image codes → pixels → ranked images.

The one owner of deadlines, of the number of images in flight, and of cancellation: what a request has started ends with
it. How a call is made again is in `calls.py`, how a picture is shown early in `previews.py`, how stages that are away
are woken in `waking.py`.
"""

import asyncio
import copy
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, Unpack

import numpy as np
from cachetools import LRUCache

from deployments.errors import NoRoomForBatch, StageFailed, StageUnavailable
from deployments.flow.calls import (
    Result,
    all_of,
    deadline,
    finite,
    put_once,
    replica_died,
    result,
    retried,
    translated,
)
from deployments.flow.circuit import Circuit
from deployments.flow.previews import Preview, Previews
from deployments.flow.waking import Waking
from deployments.telemetry.metrics import PipelineMetrics
from model_core.families.conditions import EncodedPrompt, Grid
from model_core.sampler.sequence import Sampling
from model_core.scorers.ranking import DIVERSITY, RankedImage, best

OnCodes = Callable[[int, np.ndarray], None]  # takes the place of an image's seed, and its codes so far
OnWhole = Callable[[list[tuple[int, np.ndarray]]], None]  # takes places, and whole images' codes

BATCH_DELAYS_S = (0.1, 2.0)  # the first, and the longest, until a replica is asked again that has enough batch work
SCORER_PATIENCE_S = 10.0  # once the image is there, and where images may go unranked


class GenerateOptions(TypedDict):
    """What is to be drawn, beside the prompt.

    Attributes:
      n: images to return.
      best_of: images to draw.
      seeds: one for each image drawn, below 2^32.
      timeout_s: how long it may take, all in all.
      fixed_codes: int32 [N], what every image has to have, and -1 where codes are drawn; None fixes none.
      diversity: how much those returned differ; see `scorers.ranking.best`.
      is_batch: it may wait for others, and be held up by them.
    """

    n: int
    best_of: int
    seeds: Sequence[int]
    sampling: Sampling
    timeout_s: float
    fixed_codes: NotRequired[np.ndarray | None]
    diversity: NotRequired[float]
    is_batch: NotRequired[bool]


class StagePipeline:
    """Draws ranked images with the stages of one model.

    Attributes:
      waking: of the stages that may be away.

    Args:
      stages: handles by stage name; without `clip_scorer` images come unranked, in the order of their seeds.
      images_in_flight: how many images of one request are in the stages at a time.
      images_per_call: how many of them one call to a sampler has drawn, by one replica.
      finished_together: how many one call decodes, and one scores, where they are there at the same time.
      model: its id, for what is counted.
      sleepy: stages that may be away.
      unranked_if_scorer_down: whether images are then returned without scores, rather than an error.
      prompts_max_bytes: how much the encoded prompts that are kept may take; what was used longest ago goes first.
      batch_images: of batch work, so many are in the sampler at a time, those of all requests together.
      put: gives what calls pass in place of a value that many of them take; replaced in tests.
    """

    def __init__(
        self,
        stages: Mapping[str, Any],
        grid: Grid,
        images_in_flight: int,
        model: str = "",
        *,
        images_per_call: int = 1,
        finished_together: int = 1,
        sleepy: Sequence[str] = (),
        unranked_if_scorer_down: bool = False,
        prompts_max_bytes: int = 0,
        batch_images: int = 64,
        put: Callable[[Any], Any] = put_once,
    ):
        self._encoder = stages["text_encoder"]
        self._sampler = stages["token_sampler"].options(stream=True)
        self._decoder = stages["image_decoder"]
        self._scorer = stages.get("clip_scorer")
        self._grid = grid
        self._images_per_call = min(images_per_call, images_in_flight)
        self._images_in_flight = images_in_flight
        self._finished_together = finished_together
        self.waking = Waking({name: stages[name] for name in sleepy})
        self._put = put
        self._batch = asyncio.Semaphore(batch_images)
        self._scorer_may_fail = unranked_if_scorer_down
        self._circuits = {stage: Circuit() for stage in stages}
        self._metrics = PipelineMetrics(model)
        self._encoded: LRUCache[tuple[str, str | None], EncodedPrompt] = LRUCache(prompts_max_bytes, _num_bytes)

    async def encode_prompt(
        self, prompt: str, negative_prompt: str | None, *, timeout_s: float, may_keep: bool = True
    ) -> EncodedPrompt:
        """Reads a request's text, once; raises as `generate` does.

        Args:
          negative_prompt: what guidance leads away from; "" is no text at all, None where there is no guidance.
          may_keep: whether it may be kept, and taken from what is kept.
        """
        self.waking.begin(timeout_s)
        kept = self._encoded.get((prompt, negative_prompt)) if may_keep else None
        if may_keep:
            self._metrics.prompt_looked_up(kept is not None)
        if kept is not None:
            return kept
        async with deadline(timeout_s):
            encoded = await self._call(
                "text_encoder", lambda: result(self._encoder.encode.remote(prompt, negative_prompt))
            )
        if may_keep and _num_bytes(encoded) <= self._encoded.maxsize:
            self._encoded[prompt, negative_prompt] = copy.deepcopy(encoded)  # else a part of Ray's store would be kept
        return encoded

    async def encode_image(self, image: np.ndarray, *, timeout_s: float) -> np.ndarray:
        """Turns an image of the model's size, uint8 [height, width, 3], into codes int32 [N]; raises as `generate`."""
        async with deadline(timeout_s):
            return await self._call("image_decoder", lambda: result(self._decoder.encode.remote(image)))

    async def tell(self, image: np.ndarray, *, timeout_s: float) -> str:
        """Says what an image, uint8 [height, width, 3], shows; "" where nobody can. Raises as `generate`."""
        scorer = self._scorer
        if scorer is None:
            return ""
        async with deadline(timeout_s):
            try:
                async with asyncio.timeout(SCORER_PATIENCE_S if self._scorer_may_fail else None):
                    return await self._call("clip_scorer", lambda: result(scorer.tell.remote(image)))
            except (StageUnavailable, TimeoutError):
                if not self._scorer_may_fail:
                    raise
                return ""

    async def generate(
        self, prompt: str, encoded: EncodedPrompt, **options: Unpack[GenerateOptions]
    ) -> list[RankedImage]:
        """Draws `best_of` images and returns the best `n`, best first.

        Args:
          encoded: the prompt, as `encode_prompt` returned it.

        Raises:
          DeadlineExceeded: it took longer than `timeout_s`.
          Overloaded: a stage's queue is full.
          StageUnavailable: a stage is down, or its replicas died again and again.
          StageFailed: a stage raised anything else, also where it refused what it was given.
        """
        return await self._generate(prompt, encoded, options)

    async def stream(
        self,
        prompt: str,
        encoded: EncodedPrompt,
        *,
        preview_rows: tuple[int, ...],
        preview_images: int,
        **options: Unpack[GenerateOptions],
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
        async with Previews(self._decode_one, self._grid.columns) as previews:
            rows = [preview_rows] * preview_images
            drawing = asyncio.create_task(self._generate(prompt, encoded, options, rows, previews.offer))
            drawing.add_done_callback(lambda _: previews.close())
            try:
                while (preview := await previews.next()) is not None:
                    yield preview
                yield await drawing
            finally:
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)

    async def _generate(
        self,
        prompt: str,
        encoded: EncodedPrompt,
        options: GenerateOptions,
        rows: Sequence[tuple[int, ...]] = (),
        on_codes: OnCodes = lambda place, codes: None,
    ) -> list[RankedImage]:
        """Draws; shows the codes of the first images after so many `rows` each."""
        async with deadline(options["timeout_s"]) as time_left_s:
            conditions = self._put((encoded.condition, encoded.uncondition))  # or a reference to them
            is_batch = options.get("is_batch", False)
            shared: dict[str, Any] = {"fixed_codes": options.get("fixed_codes"), "request_id": secrets.token_hex(8)}
            shared["is_batch"] = is_batch
            sample = self._sample_when_there_is_room if is_batch else self._sample
            seeds, num_drawn = options["seeds"], options["best_of"]
            rows = [*rows[:num_drawn], *[()] * (num_drawn - len(rows))]

            def start(places: Sequence[int], shown: list[np.ndarray | None]) -> Any:
                asked = tuple(seeds[place] for place in places)
                more = shared | {"rows": [rows[place] for place in places], "shown": shown, "timeout_s": time_left_s()}
                return self._sampler.sample.remote(conditions, asked, options["sampling"], **more)

            drawn: dict[int, RankedImage] = {}

            async def finish(whole: list[tuple[int, np.ndarray]]) -> None:
                images, scores = await self._finish(np.stack([codes for _, codes in whole]), prompt)
                for (place, codes), image, score in zip(whole, images, scores, strict=True):
                    drawn[place] = RankedImage(image=image, codes=codes, seed=seeds[place], score=score)

            per_call = 1 if is_batch else self._images_per_call  # batch work is counted, and refused, by the image
            window = asyncio.Semaphore(self._images_in_flight // per_call)

            async def draw(places: Sequence[int]) -> None:
                async with window, asyncio.TaskGroup() as finishing:

                    def on_whole(whole: list[tuple[int, np.ndarray]]) -> None:
                        for some in _parts(whole, self._finished_together):
                            finishing.create_task(finish(some))

                    await sample(start, places, on_codes, on_whole)

            await all_of(draw(places) for places in _parts(range(num_drawn), per_call))
        images = [drawn[place] for place in range(num_drawn)]
        if self._scorer and any(image.score is None for image in images):
            self._metrics.unranked()
        return await asyncio.to_thread(best, images, options["n"], options.get("diversity", DIVERSITY))

    async def _sample_when_there_is_room(self, *args: Any) -> None:
        """Samples batch work: not more at a time than replicas accept; where one has enough, asks again later."""
        async with self._batch:
            delay_s = BATCH_DELAYS_S[0]
            while True:
                try:
                    return await self._sample(*args)
                except NoRoomForBatch:
                    await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))
                    delay_s = min(2 * delay_s, BATCH_DELAYS_S[1])

    async def _sample(
        self, start: Callable[..., Any], places: Sequence[int], on_codes: OnCodes, on_whole: OnWhole
    ) -> None:
        """Samples images, and hands on what is shown, and what is whole. After a replica's death another goes on."""
        left, shown = list(places), dict[int, np.ndarray]()

        async def sample() -> None:
            asked = tuple(left)
            if not asked:
                return  # it died when all was there
            news = start(asked, shown=[shown.get(place) for place in asked])
            try:
                async for items in news:  # to its end: Serve neither counts nor logs a stream that is left before
                    whole = []
                    for number, codes in items:
                        place = asked[number]
                        if (codes >= 0).all():
                            left.remove(place)
                            whole.append((place, codes))
                        else:
                            shown[place] = codes
                            on_codes(place, codes)
                    if whole:
                        on_whole(whole)
            except BaseException:
                news.cancel()
                raise
            assert not left  # the last codes of each are a whole picture's

        await self._call("token_sampler", sample)

    async def _decode_one(self, codes: np.ndarray) -> np.ndarray:
        return (await result(self._decoder.decode.remote(codes[None])))[0]

    async def _finish(self, codes: np.ndarray, prompt: str) -> tuple[np.ndarray, Sequence[float | None]]:
        """Turns codes [B, N] into images and their scores."""
        scorer = self._scorer
        if scorer:
            try:
                images, scores = await self._call("clip_scorer", lambda: self._decode_and_score(codes, scorer, prompt))
            except (StageFailed, StageUnavailable, TimeoutError):
                if not self._scorer_may_fail:
                    raise
            else:
                for score in scores:
                    self._metrics.scored(score)
                return images, scores
        images = await self._call("image_decoder", lambda: result(self._decoder.decode.remote(codes)))
        return images, [None] * len(images)

    async def _decode_and_score(self, codes: np.ndarray, scorer: Any, prompt: str) -> tuple[np.ndarray, list[float]]:
        """The images go from decoder to scorer by reference, and only once are they read here."""
        images = self._decoder.decode.remote(codes)
        scores = scorer.score.remote(prompt, images)
        try:
            try:
                pixels = await images
            except Exception as error:
                raise (error if replica_died(error) else translated("image_decoder", error)) from error
            async with asyncio.timeout(SCORER_PATIENCE_S if self._scorer_may_fail else None):
                return pixels, [finite("clip_scorer", score) for score in await scores]
        except BaseException:
            images.cancel()
            scores.cancel()
            raise

    async def _call(self, stage: str, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Calls a stage, unless it has failed so often that it is left alone for a while."""
        circuit = self._circuits[stage]
        if not circuit.allows():
            raise StageUnavailable(f"The {stage} keeps failing and is left alone for a while. Try again later.")
        try:
            answer = await retried(stage, attempt, on_retry=lambda: self._metrics.retried(stage))
        except (StageUnavailable, TimeoutError):
            circuit.failed()
            raise
        circuit.succeeded()
        return answer


def _parts(items: Sequence[Any], most: int) -> list[Any]:
    """Cuts a sequence into parts of at most so many."""
    return [items[begin : begin + most] for begin in range(0, len(items), most)]


def _num_bytes(encoded: EncodedPrompt) -> int:
    """What an encoded prompt takes, about."""
    conditions = [each for each in (encoded.condition, encoded.uncondition) if each is not None]
    return 1024 + sum(each.values.nbytes + each.mask.nbytes for each in conditions)
