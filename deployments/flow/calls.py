"""Calls of stages through Serve's handles: made again where the replica died, cancelled where given up.

Stages are pure functions of their inputs and the seed, so a second attempt gives what the first would have given.
What a stage itself raises passes through `translated` alone: a caller's fields were checked before, so that no error of
a stage is the caller's fault, whatever its type.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.errors import DeadlineExceeded, NoRoomForBatch, Overloaded, StageFailed, StageUnavailable
from model_core.errors import DalleServeError, EngineFailed, NotFinite

Result = TypeVar("Result")

RETRY_DELAYS_S = (0.05, 0.1)
MAX_ATTEMPTS = len(RETRY_DELAYS_S) + 1
MEANT_FOR_CALLERS = (DeadlineExceeded, NoRoomForBatch, Overloaded, StageFailed, StageUnavailable)


async def result(response: Any) -> Any:
    """Awaits a handle's response. Given up earlier, the call is cancelled, which awaiting alone would not do.

    Not where it has answered: cancelled just after that, Serve would neither count nor log it.
    """
    try:
        return await response
    except BaseException:
        response.cancel()
        raise


def put_once(value: Any) -> Any:
    """Puts what many calls take where all stages can read it; gives what each call passes in its place.

    Ray replaces it by the value where it is an argument of its own, not inside of another. Without Ray, as in Serve's
    local testing mode, it is the value itself.
    """
    return ray.put(value) if ray.is_initialized() else value


class OfModel:
    """The handle of a stage that several models share, for one of them: called as that of its own stage would be.

    Args:
      handle: of a deployment of `stages.on_demand.OnDemandStage`.
    """

    def __init__(self, handle: Any, model: str):
        self._handle, self._model = handle, model

    def options(self, **options: Any) -> "OfModel":
        """The same with other options of Serve's."""
        return OfModel(self._handle.options(**options), self._model)

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._handle, method)
        return SimpleNamespace(remote=lambda *args, **options: call.remote(self._model, *args, **options))


async def retried(
    stage: str, attempt: Callable[[], Awaitable[Result]], on_retry: Callable[[], None] = lambda: None
) -> Result:
    """Makes a call, and makes it again where the replica died under it, or is about to be replaced.

    Raises:
      Overloaded: the stage's queue is full.
      NoRoomForBatch: the replica has enough batch work.
      StageUnavailable: the stage is down, or its replicas died in `MAX_ATTEMPTS` attempts.
      DeadlineExceeded: the stage gave up in time.
      StageFailed: the stage raised anything else.
      TimeoutError: the attempt itself gave up.
    """
    why = ""
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            return await attempt()
        except Exception as error:
            if isinstance(error, TimeoutError) and not isinstance(error, RayTaskError):
                raise
            if not replica_died(error):
                raise translated(stage, error) from error
            why = why or _why(error)
            if delay_s is None:
                raise StageUnavailable(
                    f"A stage died {MAX_ATTEMPTS} times under this request{why}. Try later."
                ) from error
        await asyncio.sleep(delay_s)
        on_retry()
    raise AssertionError("the last attempt returns or raises")


def replica_died(error: BaseException) -> bool:
    """True for a dead replica, for one about to be replaced, and for a call whose un-awaited argument died with one."""
    return isinstance(error, RayActorError | EngineFailed | NotFinite) or isinstance(error.__cause__, RayActorError)


def translated(stage: str, error: Exception) -> Exception:
    """What the error of a stage's call means to the caller of the pipeline."""
    if isinstance(error, BackPressureError):
        return Overloaded("The service is busy: a stage's queue is full. Try again later.", retry_after_s=1)
    if isinstance(error, DeploymentUnavailableError):
        return StageUnavailable(f"The {stage} failed to start; see the service's log.")
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, MEANT_FOR_CALLERS):
        return cause
    return StageFailed(f"The {stage} failed{_why(error)}. The service's log tells more.")


def finite(stage: str, score: float) -> float:
    """Gives a score back.

    Raises:
      NotFinite: it is NaN or infinite.
    """
    if not math.isfinite(score):
        raise NotFinite(f"The {stage} gave a score that is not finite ({score}).")
    return score


def _why(error: Exception) -> str:
    """What may be shown of an error that was raised on purpose; nothing of any other."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f" ({str(cause).rstrip('.')})" if isinstance(cause, DalleServeError) else ""


async def all_of(calls: Iterable[Any]) -> list[Any]:
    """Results in order; the first error cancels the rest, waits for them to end, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as errors:
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):  # a call may have a group of its own
            error = error.exceptions[0]
        raise error from error.__cause__
    return [task.result() for task in tasks]


@contextlib.asynccontextmanager
async def deadline(timeout_s: float) -> AsyncIterator[Callable[[], float]]:
    """Ends the block after so many seconds; gives the seconds that are left."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    try:
        async with asyncio.timeout_at(end):
            yield lambda: end - loop.time()
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"The request took longer than {timeout_s:g} s and was stopped. Ask for less (n, best_of, steps), or raise "
            "the gateway's request_timeout_s."
        ) from error
