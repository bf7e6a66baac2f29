"""Draws batches in the background of a gateway: takes items, a few at a time, has them drawn, and keeps the answers.

It goes the way of every request, with the gateway's own `draw`, so that pictures, limits and refusals are the same. A
gateway that stops gives back what it has not finished; of one that is killed another takes it when the lease is over.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from deployments.batches.database import Database
from deployments.batches.files import Files
from deployments.batches.lines import read_lines, request_of
from deployments.batches.queue import LEASE_S, MAX_ATTEMPTS, Item, Place, Queue, answer_line
from deployments.batches.webhooks import Webhooks
from deployments.config import AppConfig
from deployments.errors import BatchesUnavailable, NotFound, Overloaded, ShuttingDown, StageUnavailable
from deployments.gateway.replies import wire_reply
from deployments.requests.schemas import DrawingRequest, Upload
from deployments.telemetry.metrics import BatchMetrics
from model_core.errors import DalleServeError, InvalidValue, ModelNotFound

logger = logging.getLogger("ray.serve")

POLL_S = 1.0  # how soon what others have changed is seen
RENEW_S = LEASE_S / 6
SWEEP_S = 600.0
PAUSE_S = 5.0  # after a service that cannot draw just now
CALLERS_FAULT = (InvalidValue, ModelNotFound)  # drawn again, it would be the same

Draw = Callable[[DrawingRequest, Upload | None], Awaitable[dict[str, Any]]]
Refusal = Callable[[Exception], tuple[int, dict[str, Any]]]  # an error becomes a status and a body


class Runner:
    """One gateway's work on batches.

    Args:
      config: what the settings are now; those of `batches` never change.
      name: of this runner, unlike that of every other.
      draw: the gateway's.
      refusal: what an HTTP caller would get for an error.
    """

    def __init__(
        self,
        config: Callable[[], AppConfig],
        database: Database,
        webhooks: Webhooks,
        name: str,
        draw: Draw,
        refusal: Refusal,
    ):
        self._config = config
        self._settings = config().batches
        self._database = database
        self._files = Files(database, self._settings)
        self._queue = Queue(database, self._files, self._settings, name)
        self._webhooks = webhooks
        self._draw = draw
        self._refusal = refusal
        self._metrics = BatchMetrics()
        self._drawing: dict[asyncio.Task[None], Place] = {}
        self._wake = asyncio.Event()
        self._paused_until = 0.0

    def wake(self) -> None:
        """Looks for work at once."""
        self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works until the block ends; what is then being drawn is given back."""
        works = ((self._renew, RENEW_S), (self._tell, POLL_S), (self._sweep, SWEEP_S))
        loops = [asyncio.create_task(self._forever(work, pause_s, asyncio.Event())) for work, pause_s in works]
        loops.append(asyncio.create_task(self._forever(self._work, POLL_S, self._wake)))
        try:
            yield
        finally:
            await _ended(loops)
            await _ended(list(self._drawing))
            await asyncio.to_thread(self._database.close)

    async def _forever(self, work: Callable[[], Awaitable[None]], pause_s: float, wake: asyncio.Event) -> None:
        while True:
            wait_s = pause_s
            try:
                if self._database.exists:
                    await work()
            except BatchesUnavailable:  # readiness and the log tell of it
                wait_s = max(pause_s, PAUSE_S)
            except Exception:  # a loop that ended would leave every batch undone
                logger.exception("the work on batches failed, and goes on")
                wait_s = max(pause_s, PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):  # Python 3.11's wait_for may lose a cancellation
                    await wake.wait()
            wake.clear()

    async def _work(self) -> None:
        """Everything that is due, once."""
        await self._begin()
        free = self._settings.requests_in_flight - len(self._drawing)
        if free > 0 and time.monotonic() >= self._paused_until:
            for item in await asyncio.to_thread(self._queue.take, free):
                task = asyncio.create_task(self._answer(item))
                self._drawing[task] = item.place
                task.add_done_callback(self._left)
        await asyncio.to_thread(self._queue.settle)

    async def _renew(self) -> None:
        """Says that the work goes on, and ends what nobody wants any more."""
        drawing = list(self._drawing.items())
        if drawing:
            wanted = await asyncio.to_thread(self._queue.renew)
            for task, place in drawing:
                if place not in wanted:
                    task.cancel()

    async def _tell(self) -> None:
        for webhook in await asyncio.to_thread(self._queue.webhooks):
            if await self._webhooks.send(webhook):
                await asyncio.to_thread(self._queue.delivered, webhook)

    async def _sweep(self) -> None:
        await asyncio.to_thread(self._queue.sweep)

    async def _begin(self) -> None:
        """Reads the file of a new batch."""
        batch = await asyncio.to_thread(self._queue.new)
        if batch is None:
            return

        def read() -> None:
            try:
                pieces = self._files.content(batch.owner, batch.input_file_id)[1]
            except NotFound:  # deleted meanwhile
                pieces = iter(())
            most, limits = self._settings.max_lines, self._config().limits
            lines, problems = read_lines(pieces, [batch.endpoint], max_lines=most, limits=limits)
            if problems:
                self._queue.refuse(batch, problems)
            else:
                self._queue.begin(batch, lines)

        await asyncio.to_thread(read)
        self.wake()

    def _left(self, task: asyncio.Task[None]) -> None:
        del self._drawing[task]
        self._wake.set()

    async def _answer(self, item: Item) -> None:
        """Has an item drawn, and keeps what came of it, or gives it back."""
        try:
            completed, response = True, await self._drawn(item)
        except asyncio.CancelledError:
            await self._kept(item, self._queue.give_back)
            raise
        except (Overloaded, ShuttingDown, StageUnavailable) as error:
            self._paused_until = time.monotonic() + getattr(error, "retry_after_s", PAUSE_S)
            await self._kept(item, self._queue.give_back)
            return
        except Exception as error:
            logger.warning("request %s failed: %s", item.id, error, exc_info=not isinstance(error, DalleServeError))
            if item.attempts < MAX_ATTEMPTS and not isinstance(error, CALLERS_FAULT):
                await self._kept(item, partial(self._queue.give_back, failed=True))
                return
            status, body = self._refusal(error)
            completed, response = False, {"status_code": status, "request_id": item.id, "body": body}
        line = await asyncio.to_thread(answer_line, item.id, item.custom_id, response=response)
        if await self._kept(item, partial(self._queue.end, output=line, completed=completed)):
            self._metrics.ended("completed" if completed else "failed")

    async def _drawn(self, item: Item) -> dict[str, Any]:
        limits, stored = self._config().limits, partial(self._files.read, item.owner)
        request, upload = await asyncio.to_thread(request_of, item.endpoint, item.body, limits, stored)
        reply = await self._draw(request, upload)
        body = await asyncio.to_thread(wire_reply, reply, "b64_json", None)
        return {"status_code": 200, "request_id": item.id, "body": body}

    async def _kept(self, item: Item, keep: Callable[[Item], bool]) -> bool:
        """Writes what became of an item; where that fails, the lease runs out and the item is drawn again."""
        try:
            return await asyncio.to_thread(keep, item)
        except BatchesUnavailable:
            logger.warning("what became of request %s could not be kept", item.id)
            return False


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
