"""What all gateways share, in a deployment of its own where they need one: finished images, and the ledger of keys.

A by-product: where it is away, each gateway goes on without, and draws.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from deployments.config import CacheConfig
from deployments.flow.calls import result
from deployments.flow.circuit import Circuit
from deployments.gateway.ledger import Counts, Credit, Had, Ledger
from deployments.gateway.results import Reply, Results
from deployments.telemetry import degraded

NAME = "commons"
PATIENCE_S = 1.0  # of a request, for an answer that takes a few milliseconds
KEEPING_S = 30.0  # of nobody, for a reply to be kept


class Commons:
    """One for all gateways. What it knows is in memory, and lost with it."""

    def __init__(self, cache: CacheConfig, clock: Callable[[], float] = time.monotonic):
        self._results = Results(cache.results_max_bytes, 60 * cache.results_minutes, clock)
        self.ledger = Ledger(clock)

    async def find(self, key: bytes) -> Reply | None:
        """The reply that was kept under a key, or None."""
        return self._results.find(key)

    async def keep(self, key: bytes, reply: Reply) -> None:
        """Keeps a reply for a while."""
        self._results.keep(key, reply)

    async def credit(self, key: str, images_per_minute: int, needed: int, spare: int) -> Credit:
        """See `Ledger.credit`."""
        return self.ledger.credit(key, images_per_minute, needed, spare)

    async def give_back(self, key: str, images: int) -> None:
        """See `Ledger.give_back`."""
        self.ledger.give_back(key, images)

    async def report(self, gateway: str, counts: Mapping[str, Counts]) -> None:
        """See `Ledger.report`."""
        self.ledger.report(gateway, counts)

    async def usage(self, key: str, gateway: str, counts: Counts) -> Had:
        """What a key has had of all gateways; the one that asks says what it has had of itself."""
        self.ledger.report(gateway, {key: counts})
        return self.ledger.usage(key)


class CommonsClient:
    """The same for a gateway: of the deployment behind a handle, or without one of its own.

    Nothing raises here. After three failures in a row it is not asked for half a minute.
    """

    def __init__(self, handle: Any | None, cache: CacheConfig, clock: Callable[[], float] = time.monotonic):
        self._commons = Commons(cache, clock) if handle is None else None
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

    @property
    def is_shared(self) -> bool:
        """Whether other gateways see it, and asking takes a while."""
        return self._commons is None

    async def credit(self, key: str, images_per_minute: int, needed: int, spare: int) -> Credit | None:
        """Images of a key's, see `Ledger.credit`; None where nobody knows."""
        return await self._ask("credit", key, images_per_minute, needed, spare, timeout_s=PATIENCE_S)

    async def give_back(self, key: str, images: int) -> None:
        """Gives back what was not used."""
        await self._ask("give_back", key, images, timeout_s=PATIENCE_S)

    def give_back_here(self, key: str, images: int) -> None:
        """The same at once, where nothing is shared."""
        assert self._commons is not None
        self._commons.ledger.give_back(key, images)

    async def report(self, gateway: str, counts: Mapping[str, Counts]) -> bool:
        """Says what keys have had; whether it was heard."""
        return await self._ask("report", gateway, counts, timeout_s=PATIENCE_S, default=False) is None

    async def usage(self, key: str, gateway: str, counts: Counts) -> Had | None:
        """What a key has had of all gateways, `counts` of the one that asks; None where nobody knows of others."""
        return await self._ask("usage", key, gateway, counts, timeout_s=PATIENCE_S)

    async def _ask(self, method: str, *args: Any, timeout_s: float, default: Any = None) -> Any:
        if self._commons is not None:
            return await getattr(self._commons, method)(*args)
        if not self._circuit.allows():
            return default
        try:
            async with asyncio.timeout(timeout_s):
                answer = await result(getattr(self._handle, method).remote(*args))
        except Exception as error:
            self._circuit.failed()
            degraded.failed(NAME, "what gateways share cannot be reached", repr(error))
            return default
        self._circuit.succeeded()
        degraded.works(NAME)
        return answer
