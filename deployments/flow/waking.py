"""Stages that may be away, scaled to zero or not loaded: a request wakes all at once, not each when its turn comes."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from deployments.flow.calls import OfModel, result

LOADING_AFTER_S = 0.3  # who waits less need not be told why


class Waking:
    """Wakes the stages of one model.

    Args:
      stages: those that may be away, handles by name.
    """

    def __init__(self, stages: Mapping[str, Any]):
        self._stages = stages
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, timeout_s: float) -> dict[str, asyncio.Task[None]]:
        """Wakes what is away, and gives what is being woken."""
        self._tasks = {name: task for name, task in self._tasks.items() if not task.done()}
        if not self._tasks:
            for name, stage in self._stages.items():
                task = self._tasks[name] = asyncio.create_task(wake(stage, timeout_s))
                task.add_done_callback(lambda task: task.cancelled() or task.exception())  # the next call raises it
        return self._tasks

    async def waiting_for(self, timeout_s: float) -> AsyncGenerator[list[str], None]:
        """Wakes what is away; says which stages those are, and again whenever one has come, but nothing of short waits.

        What goes wrong is for the calls to tell that come next.

        Args:
          timeout_s: how long the request may take, all in all.
        """
        waking, patience_s, when = self.begin(timeout_s), LOADING_AFTER_S, asyncio.ALL_COMPLETED
        while waking:
            await asyncio.wait(waking.values(), timeout=patience_s, return_when=when)
            waking = {name: task for name, task in waking.items() if not task.done()}
            if waking:
                yield list(waking)
            patience_s, when = None, asyncio.FIRST_COMPLETED  # each of them ends in time


async def wake(stage: Any, timeout_s: float) -> None:
    """Brings a stage back: one that has scaled to zero by asking Serve for a replica, one that is shared by loading it.

    Raises:
      TimeoutError: it is not there in time.
    """
    async with asyncio.timeout(timeout_s):
        if isinstance(stage, OfModel):
            await result(stage.load.remote())
            return
        async with stage.choose_replica():
            pass
