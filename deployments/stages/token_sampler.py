"""The stage that draws image codes: a shim over `model_core.sampler.engine.Engine`, which draws many images at once."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from collections.abc import Sequence as Values
from contextlib import aclosing, contextmanager
from typing import Any

import numpy as np

from deployments.config import TokenSamplerConfig
from deployments.errors import DeadlineExceeded, NoRoomForBatch
from deployments.scaling.autoscaling import SamplerLoad
from deployments.stages.together import together
from deployments.telemetry import energy
from deployments.telemetry.metrics import SamplerMetrics, SlotCounts
from model_core.errors import EngineFailed
from model_core.families.conditions import Condition, common_grid
from model_core.sampler.sequence import Sampling, Sequence

REFUSAL_S = 1.0  # a replica that refused at once, having failed, would look idle, and draw the others' calls to itself

ROWS_OF_SLOT = 2  # of the decoder: an image under guidance takes both, any other one of them


class TokenSamplerDeployment:
    """Draws the codes of images, each as soon as there is room, whoever else is being drawn."""

    def __init__(self, model: str, config: TokenSamplerConfig):
        from model_core import bundles, codecs, families, stages
        from model_core.sampler.engine import Engine

        bundle = bundles.resolve(model)
        drawn, decoded = families.read_config(bundle.sampler).grid, codecs.read_config(bundle.codec).grid
        grid = common_grid(model, drawn, decoded)
        stage = stages.TokenSampler(
            bundle.sampler,
            dtype=config.dtype,
            batch_size=config.slots,
            num_codes=grid.codebook,
            deterministic=config.deterministic,
            num_devices=config.num_devices,
            window=None if config.window == "auto" else config.window,
            usual_window=bundle.window,
        )
        self._max_batch, self._num_batch = config.batch_images, 0
        self._columns = grid.columns
        self._is_deterministic = stage.rows.is_deterministic
        self._metrics = SamplerMetrics()
        self._load = SamplerLoad(codes_per_image=grid.num_codes)
        self._engine = Engine(stage.rows, codes_per_advance=config.codes_per_advance, max_stall_s=config.max_stall_s)
        self._engine.start()
        energy.report()

    async def sample(
        self,
        conditions: tuple[Condition, Condition | None],
        seeds: Values[int],
        sampling: Sampling,
        *,
        rows: Values[tuple[int, ...]] | None = None,
        shown: Values[np.ndarray | None] | None = None,
        fixed_codes: np.ndarray | None = None,
        request_id: str = "",
        is_batch: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[list[tuple[int, np.ndarray]], None]:
        """Draws the codes of some images of one request, and shows them on the way.

        Args:
          conditions: of what to draw, and of what guidance leads away from; None without guidance.
          seeds: of each image, below 2^32; the same seed gives the same codes whatever else is drawn.
          rows: of each, after how many rows of codes to show them; where the engine passes several at once, it shows
            the last of them. None: of none.
          shown: of each, the last that another replica yielded, if any. Nothing of it is yielded again. It is taken as
            it is; or, where a seed means the same bits, drawn again, so that what follows is the same as well.
          fixed_codes: int32 [N], what each image has to have; -1 where codes are drawn.
          request_id: images of one request share its turns, so that a large one leaves room for others.
          is_batch: it takes what is free, and gives it to others that come.
          timeout_s: how long it may take from now on.

        Yields:
          What there is at a time: places in `seeds`, and codes int32 [N] of each, -1 for those to come. Of each image
          always, at its end, all of them.

        Raises:
          InvalidValue: an image cannot be drawn.
          NoRoomForBatch: it is batch work, of which there is enough here.
          DeadlineExceeded: it took longer than `timeout_s`.
          EngineFailed: the replica is about to be replaced; another can draw the images.
        """
        many, drawings = len(seeds), []
        options = {"request_id": request_id, "is_batch": is_batch, "timeout_s": timeout_s}
        for seed, its_rows, its_shown in zip(seeds, rows or [()] * many, shown or [None] * many, strict=True):
            is_taken = its_shown is not None and not self._is_deterministic
            sequence = Sequence(
                condition=conditions[0],
                uncondition=conditions[1],
                seed=seed,
                sampling=sampling,
                fixed_codes=its_shown if is_taken else fixed_codes,
            )
            num_shown = 0 if its_shown is None else int((its_shown < 0).argmax())
            drawings.append(self._draw(sequence, its_rows, num_shown, options))
        async with aclosing(together(drawings)) as news:
            async for items in news:
                yield items

    async def _draw(
        self, sequence: Sequence, rows: tuple[int, ...], num_shown: int, options: dict[str, Any]
    ) -> AsyncGenerator[np.ndarray, None]:
        """One of them."""
        watched = [row * self._columns for row in rows or (1,)]  # so that the time to the first row is measured
        stops = tuple(stop for stop in watched if stop > num_shown)
        with self._place(options["is_batch"]), self._metrics.image() as first_row:
            drawing = self._engine.stream(sequence, stops=stops, **options)
            is_first = True
            try:
                async with aclosing(drawing):
                    async for codes in drawing:
                        if is_first:
                            first_row()
                        is_first = False
                        if rows or (codes >= 0).all():
                            yield codes
            except TimeoutError as error:
                raise DeadlineExceeded("The image took longer than it may, and was given up.") from error
            except EngineFailed:
                await asyncio.sleep(REFUSAL_S)
                raise

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises `EngineFailed`."""
        self._engine.check_health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve about once a second: how full the replica is, for the autoscaler and for metrics."""
        stats = self._engine.stats()
        counts = SlotCounts(
            slots=stats.rows / ROWS_OF_SLOT,
            active=stats.rows_taken / ROWS_OF_SLOT,
            waiting=stats.waiting,
            codes_drawn=stats.codes_drawn,
            near_ties=stats.near_ties,
            codes_tried=stats.codes_tried,
            steps=stats.steps,
            window=stats.window,
            batch_active=stats.batch_rows / ROWS_OF_SLOT,
            batch_waiting=stats.batch_waiting,
            times_given_way=stats.times_given_way,
        )
        self._metrics.publish(counts)
        return self._load.stats(counts)

    @contextmanager
    def _place(self, is_batch: bool) -> Iterator[None]:
        """Counts batch work, and refuses what is too much of it: it must not take the places of other calls."""
        if is_batch and self._num_batch >= self._max_batch:
            raise NoRoomForBatch("The replica has as much batch work as it accepts.")
        self._num_batch += is_batch
        try:
            yield
        finally:
            self._num_batch -= is_batch

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)  # the constructor may have failed
        if engine:
            engine.close()
