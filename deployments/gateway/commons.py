"""What all gateways share, in a deployment of its own where there are several: finished images.

A by-product: where it is away, each gateway goes on without, and draws.
"""

import asyncio
from typing import Any

from deployments.config import CacheConfig
from deployments.flow.calls import result
from deployments.flow.circuit import Circuit
from deployments.gateway.results import Reply, Results
from deployments.telemetry import degraded

NAME = "commons"
PATIENCE_S = 1.0  # of a request, for an answer that takes a few milliseconds
KEEPING_S = 30.0  # of nobody, for a reply to be kept


class Commons:
    """One for all gateways. What it knows is in memory, and lost with it."""

    def __init__(self, cache: CacheConfig):
        self._results = Results(cache.results_max_bytes, 60 * cache.results_minutes)

    async def find(self, key: bytes) -> Reply | None:
        """The reply that was kept under a key, or None."""
        return self._results.find(key)

    async def keep(self, key: bytes, reply: Reply) -> None:
        """Keeps a reply for a while."""
        self._results.keep(key, reply)


class CommonsClient:
    """The same for a gateway: of the deployment behind a handle, or without one of its own.

    Nothing raises here. After three failures in a row it is not asked for half a minute.
    """

    def __init__(self, handle: Any | None, cache: CacheConfig):
        self._commons = Commons(cache) if handle is None else None
        self._handle = handle
        self._circuit = Circuit()
        self._keeping: set[asyncio.Task[Any]] = set()

    async def find(self, key: bytes) -> Reply | None:
        """The reply that was kept under a key; None also where that cannot be known."""
        return await self._ask("find", key, timeout_s=PATIENCE_S)

    async def keep(self, key: bytes, reply: Reply) -> None:
        """Has a reply kept for a while; waits for it only where it stays in this process."""
        if self._commons is not None:
            await self._commons.keep(key, reply)
            return
        task = asyncio.create_task(self._ask("keep", key, reply, timeout_s=KEEPING_S))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _ask(self, method: str, *args: Any, timeout_s: float) -> Any:
        if self._commons is not None:
            return await getattr(self._commons, method)(*args)
        if not self._circuit.allows():
            return None
        try:
            async with asyncio.timeout(timeout_s):
                answer = await result(getattr(self._handle, method).remote(*args))
        except Exception as error:
            self._circuit.failed()
            degraded.failed(NAME, "what gateways share cannot be reached", repr(error))
            return None
        self._circuit.succeeded()
        degraded.works(NAME)
        return answer
