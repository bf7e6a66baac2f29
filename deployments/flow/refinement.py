"""Pictures on their way through the refiner: shown on the way, and after a replica's death gone on with elsewhere."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deployments.config import RefinerConfig
from deployments.flow.calls import all_of, deadline, retried
from deployments.telemetry.metrics import PipelineMetrics
from model_core.refine.values import Refined, Refinement, Size
from model_core.scorers.ranking import RankedImage, rank


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """A picture that is still being refined: its place among the request's, the steps made, and how it looks now."""

    image_index: int
    step: int
    image: np.ndarray


class RefinerPipeline:
    """Refines pictures with one model's refiner.

    Attributes:
      config: its settings.
      sizes: heights and widths that it refines at; the model's own is the first.

    Args:
      refiner: its handle.
      native: the model's own height and width.
      model: its id, for what is counted.
    """

    def __init__(self, refiner: Any, config: RefinerConfig, native: Size, model: str = ""):
        self.config = config
        self.sizes = tuple(dict.fromkeys([native, *config.shapes]))
        self._refiner = refiner.options(stream=True)
        self._metrics = PipelineMetrics(model)

    async def stream(
        self,
        starts: Sequence[np.ndarray | None],
        refinements: Sequence[Refinement],
        *,
        shown: Sequence[int] = (),
        timeout_s: float,
    ) -> AsyncGenerator[Shown | list[RankedImage], None]:
        """Refines pictures, all at a time. Close the generator (`contextlib.aclosing`) to cancel what it has started.

        Args:
          starts: uint8 [height, width, 3] each; None is noise.
          refinements: one for each.
          shown: after how many steps a picture is shown, or soon after, in rising order.

        Yields:
          Pictures on their way, and at the end all of them, best first.

        Raises:
          DeadlineExceeded: it took longer than `timeout_s`.
          Overloaded, StageUnavailable, StageFailed: as `flow.calls.retried`.
        """
        news: asyncio.Queue[Shown | None] = asyncio.Queue()  # at most so many for each picture, and the end

        async def refine_all() -> list[RankedImage]:
            async with deadline(timeout_s) as time_left_s:
                pairs = enumerate(zip(starts, refinements, strict=True))
                return rank(
                    await all_of(
                        self._refine(index, *pair, list(shown), news.put_nowait, time_left_s) for index, pair in pairs
                    )
                )

        refining = asyncio.create_task(refine_all())
        refining.add_done_callback(lambda _: news.put_nowait(None))
        try:
            while (item := await news.get()) is not None:
                yield item
            yield await refining
        finally:
            refining.cancel()
            await asyncio.gather(refining, return_exceptions=True)

    async def _refine(
        self,
        index: int,
        start: np.ndarray | None,
        refinement: Refinement,
        to_show: list[int],
        show: Callable[[Shown], object],
        time_left_s: Callable[[], float],
    ) -> RankedImage:
        last: Refined | None = None

        async def go_on() -> Refined:
            nonlocal last
            image, state = (start, None) if last is None else (None, last.state)
            pictures = self._refiner.refine.remote(refinement, image, state=state, timeout_s=time_left_s())
            try:
                async for refined in pictures:
                    last = refined
                    if to_show and to_show[0] <= refined.step < refinement.steps:
                        show(Shown(image_index=index, step=refined.step, image=refined.image))
                        to_show[:] = [step for step in to_show if step > refined.step]
            except BaseException:
                pictures.cancel()
                raise
            assert last is not None  # the start is always there
            return last

        refined = await retried("refiner", go_on, on_retry=lambda: self._metrics.retried("refiner"))
        no_codes = np.zeros(0, np.int32)
        return RankedImage(image=refined.image, codes=no_codes, seed=refinement.seed, score=refined.score)
