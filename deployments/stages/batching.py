"""Calls that arrive together are computed together, in a thread, so that the event loop stays free."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from ray import serve


def batched(compute: Callable[..., list[Any]], batch_size: int, wait_timeout_s: float) -> Callable[..., Awaitable[Any]]:
    """Turns a function of lists into an awaitable one of single items.

    Args:
      compute: takes lists of one length, one for each argument, and returns a list of that length.
      batch_size: how many items go together at most.
      wait_timeout_s: how long the first waits for others.
    """

    @wraps(compute)
    async def compute_in_thread(*lists: list[Any]) -> list[Any]:
        return await asyncio.to_thread(compute, *lists)

    # Not as a decorator of a method, because the queue would belong to the class, not to the replica's object.
    in_batches: Any = serve.batch(max_batch_size=batch_size, batch_wait_timeout_s=wait_timeout_s)
    return in_batches(compute_in_thread)
