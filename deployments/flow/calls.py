"""Calls of stages through Serve's handles: made again where the replica died, cancelled where given up.

Stages are pure functions of their inputs and the seed, so a second attempt gives what the first would have given.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from deployments.errors import Overloaded, StageUnavailable
from model_core.errors import EngineFailed

Result = TypeVar("Result")

RETRY_DELAYS_S = (0.05, 0.1)
MAX_ATTEMPTS = len(RETRY_DELAYS_S) + 1
ERRORS_OF_CALLS = (RayActorError, RayTaskError, RayServeException)  # what awaiting a handle's response may raise


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


async def wake(stage: Any) -> None:
    """Brings a stage back where it has scaled to zero: asks Serve for one of its replicas, and leaves it alone."""
    async with stage.choose_replica():
        pass


async def retried(attempt: Callable[[], Awaitable[Result]], on_retry: Callable[[], None] = lambda: None) -> Result:
    """Makes a call, and makes it again where the replica died under it.

    Args:
      attempt: makes the call.
      on_retry: told of each further attempt.

    Raises:
      Overloaded: the stage's queue is full.
      StageUnavailable: the stage is down, or its replicas died in `MAX_ATTEMPTS` attempts.
      Exception: what the stage itself raised.
    """
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            return await attempt()
        except ERRORS_OF_CALLS as error:
            if not replica_died(error):
                raise _translated(error) from error
            if delay_s is None:
                raise StageUnavailable(f"A stage died {MAX_ATTEMPTS} times under this request. Try later.") from error
        await asyncio.sleep(delay_s)
        on_retry()
    raise AssertionError("the last attempt returns or raises")


def replica_died(error: BaseException) -> bool:
    """True for a dead replica, for one about to be replaced, and for a call whose un-awaited argument died with one."""
    return isinstance(error, RayActorError | EngineFailed) or isinstance(error.__cause__, RayActorError)


def _translated(error: Exception) -> BaseException:
    """What the error of a handle call means to the caller of the pipeline."""
    if isinstance(error, BackPressureError):
        return Overloaded("The service is busy: a stage's queue is full. Try again later.", retry_after_s=1)
    if isinstance(error, DeploymentUnavailableError):
        return StageUnavailable("A stage of the model failed to start; see the service's log.")
    return error.cause if isinstance(error, RayTaskError) else error


async def all_of(calls: Iterable[Any]) -> list[Any]:
    """Results in order; the first error cancels the rest, waits for them to end, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors.exceptions[0].__cause__
    return [task.result() for task in tasks]
