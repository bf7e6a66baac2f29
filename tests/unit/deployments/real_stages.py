"""A gateway with the stages themselves behind it, all in this process: for tests of what is served, without Ray."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deployments.config import AppConfig
from deployments.gateway.gateway import Gateway
from deployments.offline.in_process import InProcess
from deployments.stages import clip_scorer, image_decoder, text_encoder
from model_core.sampler.rows import Rows


def one_by_one(compute: Callable[..., list[Any]], *_: Any) -> Callable[..., Awaitable[Any]]:
    """In place of Serve's batches, each of which belongs to one event loop."""

    async def compute_one(*args: Any) -> Any:
        return compute(*([arg] for arg in args))[0]

    return compute_one


@contextmanager
def served(config: AppConfig) -> Iterator[Gateway]:
    """The gateway of these models. What their samplers can run is compiled when it is asked for, not all before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rows, "warm_up", lambda rows: None)
        for module in (text_encoder, image_decoder, clip_scorer):
            patch.setattr(module, "batched", one_by_one)
        here = InProcess(config)
        try:
            yield here.gateway
        finally:
            here.close()
