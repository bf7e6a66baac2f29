"""Calls that arrive together are computed together, in a thread, so that the event loop stays free."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from ray import serve

Outcome = tuple[Any, Exception | None]  # what came of an item


def batched(compute: Callable[..., list[Any]], batch_size: int, wait_timeout_s: float) -> Callable[..., Awaitable[Any]]:
    """Turns a function of lists into an awaitable one of single items.

    Where items cannot be computed together they are computed alone, so that an error is that of its own item.

    Args:
      compute: takes lists of one length, one for each argument, and returns a list of that length.
      batch_size: how many items go together at most.
      wait_timeout_s: how long the first waits for others.
    """

    @wraps(compute)
    async def compute_in_thread(*lists: list[Any]) -> list[Outcome]:
        return await asyncio.to_thread(_outcomes, compute, *lists)

    # Not as a decorator of a method, because the queue would belong to the class, not to the replica's object.
    in_batches: Any = serve.batch(max_batch_size=batch_size, batch_wait_timeout_s=wait_timeout_s)
    compute_in_batches = in_batches(compute_in_thread)

    async def compute_one(*items: Any) -> Any:
        result, error = await compute_in_batches(*items)
        if error is not None:
            raise error
        return result

    return compute_one


def _outcomes(compute: Callable[..., list[Any]], *lists: list[Any]) -> list[Outcome]:
    try:
        return [(result, None) for result in compute(*lists)]
    except Exception as error:
        if len(lists[0]) == 1:
            return [(None, error)]
    return [_outcomes(compute, *([item] for item in items))[0] for items in zip(*lists, strict=True)]
