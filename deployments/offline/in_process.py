"""A gateway and its stages in one process: the code that draws over HTTP, called as through Serve's handles.

So a picture is the one that the service draws, file and all.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import ray
from ray.serve import context
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.config import DeploymentConfig as ServeConfig
from ray.serve.schema import ReplicaRank

from deployments.app import STAGES
from deployments.config import AppConfig
from deployments.gateway.gateway import Gateway

NAME = "offline"


class InProcess:
    """A gateway, and the stages that it calls.

    Args:
      config: of the service; how many replicas there are, and where, is not looked at.

    Raises:
      DalleServeError: a model's files cannot be used.
    """

    def __init__(self, config: AppConfig):
        _stand_in_for_replica()
        own = [model.model_copy(update={"on_demand": False}) for model in config.models]  # here all stay
        config = config.model_copy(update={"models": own})
        self._stages: dict[str, dict[str, Any]] = {
            model.id: {name: STAGES[name](model.location, stage) for name, stage in model.stages.items()}  # type: ignore[arg-type]  each has the settings of its own stage
            for model in config.models
        }
        handles = {model: {name: Handle(each) for name, each in own.items()} for model, own in self._stages.items()}
        self.gateway = Gateway(config, handles, build_api=lambda _: None)

    def check_health(self) -> None:
        """Raises what a stage would raise towards Serve, which would then replace it."""
        for own in self._stages.values():
            for stage in own.values():
                if check := getattr(stage, "check_health", None):
                    check()

    def close(self) -> None:
        """Ends the stages' threads; this process is no replica any more."""
        for own in self._stages.values():
            for stage in own.values():
                if end := getattr(stage, "__del__", None):
                    end()
        context._INTERNAL_REPLICA_CONTEXT = None


class Handle:
    """A stage of this process, called as through a handle of Serve's."""

    def __init__(self, stage: Any, *, stream: bool = False):
        self._stage = stage
        self._response = Stream if stream else Response

    def options(self, *, stream: bool) -> "Handle":
        """A handle for methods that yield."""
        return Handle(self._stage, stream=stream)

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._stage, method)
        return SimpleNamespace(remote=lambda *args, **options: self._response(call, args, options))


class Response:
    """A call: begun at once, awaited or not; its arguments may be responses themselves."""

    def __init__(self, call: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]):
        self._task = asyncio.ensure_future(_called(call, args, options))
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # somebody has seen it

    def __await__(self) -> Any:
        return asyncio.shield(self._task).__await__()

    def cancel(self) -> None:
        """Ends the call."""
        self._task.cancel()


class Stream:
    """A call that yields, begun when it is first asked."""

    def __init__(self, call: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]):
        self._items = _yielded(call, args, options)
        self._closing: asyncio.Future[None] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._items

    def cancel(self) -> None:
        """Ends the call."""
        self._closing = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        with contextlib.suppress(RuntimeError):  # it runs, and is being cancelled by who reads it
            await self._items.aclose()


async def _called(call: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return await call(*[await _value(arg) for arg in args], **options)


async def _yielded(
    call: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> AsyncGenerator[Any, None]:
    async with aclosing(call(*[await _value(arg) for arg in args], **options)) as items:
        async for item in items:
            yield item


async def _value(arg: Any) -> Any:
    return await arg if isinstance(arg, Response | ray.ObjectRef) else arg


def _stand_in_for_replica() -> None:
    """`serve.batch` asks its replica how many calls it takes at a time, and there is none here."""
    context._set_internal_replica_context(
        replica_id=ReplicaID(NAME, DeploymentID(NAME, NAME)),
        servable_object=lambda: None,
        _deployment_config=ServeConfig(max_ongoing_requests=10**6),
        rank=ReplicaRank(rank=0, node_rank=0, local_rank=0),
        world_size=1,
    )
