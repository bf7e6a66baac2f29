"""One request's way through the stages: prompt → encoder states → image codes → pixels → ranked images.

The one owner of deadlines, retries and cancellation. Stages are pure functions of their inputs and the seed, so a call
whose replica died is made again and gives the same image; a call that is given up, for whatever reason, is cancelled.
Knows nothing of HTTP, and of Ray only what a handle returns and which errors mean that a replica died.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from deployments.errors import DeadlineExceeded, Overloaded, StageUnavailable
from deployments.text_encoder import EncodedPrompt
from deployments.token_sampler import Sampling

Result = TypeVar("Result")

RETRY_DELAYS_S = (0.05, 0.1)
MAX_ATTEMPTS = len(RETRY_DELAYS_S) + 1
SEEDS = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedImage:
    """One finished image, uint8 [height, width, 3], the seed that draws it again, and its score or None."""

    image: np.ndarray
    codes: np.ndarray
    seed: int
    score: float | None


class Pipeline:
    """Draws ranked images with the stages of one model.

    Args:
      stages: handles by stage name; without `clip_scorer` images come unranked, in the order of their seeds.
      images_in_flight: how many images of one request are in the stages at a time.
    """

    def __init__(self, stages: Mapping[str, Any], images_in_flight: int):
        self._encoder = stages["text_encoder"]
        self._sampler = stages["token_sampler"]
        self._decoder = stages["image_decoder"]
        self._scorer = stages.get("clip_scorer")
        self._images_in_flight = images_in_flight

    async def generate(
        self,
        prompt: str,
        *,
        n: int,
        best_of: int,
        seed: int,
        negative_prompt: str,
        sampling: Sampling,
        timeout_s: float,
    ) -> list[RankedImage]:
        """Draws `best_of` images and returns the best `n`, best first; image i has the seed (seed + i) mod 2^32.

        Raises:
          DeadlineExceeded: it took longer than `timeout_s`.
          Overloaded: a stage's queue is full.
          StageUnavailable: a stage is down, or its replicas died in `MAX_ATTEMPTS` attempts.
          InvalidValue: a stage refused a value.
        """
        try:
            async with asyncio.timeout(timeout_s):
                text, negative = await self._encode(prompt, negative_prompt)
                window = asyncio.Semaphore(self._images_in_flight)

                async def draw(image_seed: int) -> RankedImage:
                    async with window:
                        codes = await _retried(
                            lambda: _result(self._sampler.sample.remote(text, negative, image_seed, sampling))
                        )
                        image, score = await _retried(lambda: self._decode_and_score(codes, prompt))
                    return RankedImage(image=image, codes=codes, seed=image_seed, score=score)

                drawn = await _all(draw((seed + i) % SEEDS) for i in range(best_of))
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The request took longer than {timeout_s:g} s and was stopped. Ask for fewer images (n, best_of), or "
                "raise the gateway's request_timeout_s."
            ) from error
        return rank(drawn)[:n]

    async def _encode(self, prompt: str, negative_prompt: str) -> tuple[EncodedPrompt, EncodedPrompt]:
        """Both prompts at once, so that they share a batch."""

        def encode(words: str) -> Awaitable[EncodedPrompt]:
            return _retried(lambda: _result(self._encoder.encode.remote(words)))

        text, negative = await _all([encode(prompt), encode(negative_prompt)])
        return text, negative

    async def _decode_and_score(self, codes: np.ndarray, prompt: str) -> tuple[np.ndarray, float | None]:
        """The image goes from decoder to scorer by reference, and only once is it read here."""
        image = self._decoder.decode.remote(codes)
        score = self._scorer.score.remote(prompt, image) if self._scorer else None
        try:
            return await image, (await score if score else None)
        finally:
            image.cancel()
            if score:
                score.cancel()


def rank(images: list[RankedImage]) -> list[RankedImage]:
    """Best first; equal scores, and images without any, keep their order."""
    return sorted(images, key=lambda image: -image.score if image.score is not None else 0.0)


async def _result(response: Any) -> Any:
    """Awaits a handle's response. Given up earlier, the call is cancelled, which awaiting alone would not do."""
    try:
        return await response
    finally:
        response.cancel()


async def _retried(attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Makes a call again where the replica died under it, and translates the other errors of Serve."""
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            return await attempt()
        except (RayActorError, RayTaskError, RayServeException) as error:
            if not _replica_died(error):
                raise _translated(error) from error
            if delay_s is None:
                raise StageUnavailable(f"A stage died {MAX_ATTEMPTS} times under this request. Try later.") from error
        await asyncio.sleep(delay_s)
    raise AssertionError("the last attempt returns or raises")


def _replica_died(error: BaseException) -> bool:
    """True for a dead replica, and for a call whose un-awaited argument was lost with one."""
    return isinstance(error, RayActorError) or isinstance(error.__cause__, RayActorError)


def _translated(error: Exception) -> BaseException:
    """What the error of a handle call means to the caller of the pipeline."""
    if isinstance(error, BackPressureError):
        return Overloaded("The service is busy: a stage's queue is full. Try again later.", retry_after_s=1)
    if isinstance(error, DeploymentUnavailableError):
        return StageUnavailable("A stage of the model failed to start; see the service's log.")
    return error.cause if isinstance(error, RayTaskError) else error


async def _all(calls: Any) -> list[Any]:
    """Results in order; the first error cancels the rest, waits for them to end, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors.exceptions[0].__cause__
    return [task.result() for task in tasks]
