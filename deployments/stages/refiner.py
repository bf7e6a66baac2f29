"""The stage that refines pictures by gradient: a shim over `model_core.refine.refiner.Refiner`."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from deployments.config import RefinerConfig
from deployments.errors import DeadlineExceeded, no_scorer
from deployments.stages.health import Health
from deployments.telemetry import energy
from deployments.telemetry.metrics import RefinerMetrics
from model_core.refine.values import Refined, Refinement, State


class RefinerDeployment:
    """Refines pictures, several in turns: one is computed at a time, in a thread that stands back for others."""

    def __init__(self, model: str, config: RefinerConfig):
        self._every = config.steps_per_advance
        self._health = Health()
        self._metrics = RefinerMetrics()
        # What makes the threads that compute is this one, so that they stand back too.
        self._thread = ThreadPoolExecutor(1, "refiner", lambda: os.nice(config.niceness))
        self._refine: Callable[..., Any] = self._thread.submit(_load, model, config).result()
        energy.report()

    async def refine(
        self,
        refinement: Refinement,
        image: np.ndarray | None = None,
        state: State | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Refined, None]:
        """Refines one picture, and shows it on the way.

        Args:
          image: uint8 [height, width, 3], of the refinement's size, to begin with; None is noise.
          state: the last that another replica yielded, to go on from; nothing of it is yielded again.
          timeout_s: how long it may take from now on.

        Yields:
          The picture at the start, then after every few steps, and at the end.

        Raises:
          InvalidValue: it is of a size that is not refined here.
          DeadlineExceeded: it took longer than `timeout_s`.
          NotFinite: the replica is about to be replaced; another can go on.
        """
        loop = asyncio.get_running_loop()
        until = None if timeout_s is None else loop.time() + timeout_s
        pictures = self._refine(refinement, image, state, self._every)
        take = self._health.watched(lambda: next(pictures, None))
        made = 0 if state is None else state.step
        with self._metrics.picture() as stepped:
            while True:
                try:
                    async with asyncio.timeout_at(until):  # what is being computed is computed to its end
                        refined = await loop.run_in_executor(self._thread, take)
                except TimeoutError as error:
                    raise DeadlineExceeded("The picture took longer than it may, and was given up.") from error
                if refined is None:
                    return
                stepped(refined.step - made)
                made = refined.step
                yield refined

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises `NotFinite`."""
        self._health.check()

    def __del__(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _load(model: str, config: RefinerConfig) -> Callable[..., Any]:
    from model_core import bundles
    from model_core.refine.refiner import Refiner

    bundle = bundles.resolve(model, scorer=config.source)
    if bundle.scorer is None:
        raise no_scorer(model)
    refiner = Refiner(bundle.codec, bundle.scorer, config.dtype, config.shapes)
    refiner.warm_up()
    return refiner.refine
