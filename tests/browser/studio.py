"""The real gateway and its HTTP app, on stages that draw known pictures as fast as a test lets them.

What is drawn for a seed is picture number seed mod 120 of the sheet in docs/images; its score is that number, so that
the best of several is known. Everything between the socket and the stages is what production runs.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from deployments.api.routes import build_api
from deployments.config import AppConfig, CacheConfig
from deployments.gateway.gateway import Gateway
from deployments.host import free_port
from model_core.pictures.images import read_image
from tests.unit.deployments.fakes import FakeRefiner, FakeStage, encoded

SHEET = Path(__file__).parents[2] / "docs" / "images" / "readme.png"  # 24 × 5 pictures of 64 pixels
PICTURES, COLUMNS, CELL = 120, 24, 64
ROWS = 16  # of 16 codes each
PATIENCE_S = 20.0


class Sampler(FakeStage):
    """Draws as many rows of each picture as `rows_allowed` says, then waits for more to be allowed.

    Attributes:
      alike: so many seeds in a row draw the same picture, the first one's.
      is_away: it is not loaded, and whoever asks for it waits until it is.
      drawing: pictures that are being drawn just now: the slots in use.
    """

    def __init__(self) -> None:
        super().__init__(lambda conditions, seeds, sampling: [self._codes(seed) for seed in seeds])
        self.rows_allowed = ROWS
        self.drawing = 0
        self.alike = 1
        self.is_away = False

    @asynccontextmanager
    async def choose_replica(self) -> AsyncIterator[None]:
        while self.is_away:
            await asyncio.sleep(0.01)
        yield

    def _codes(self, seed: int) -> np.ndarray:
        return np.full(ROWS * ROWS, seed // self.alike * self.alike % PICTURES, np.int32)

    async def _rows(
        self, args: tuple[Any, ...], rows: list[tuple[int, ...]], **options: Any
    ) -> AsyncIterator[list[tuple[int, np.ndarray]]]:
        seeds = args[1]
        self.drawing += len(seeds)
        try:
            drawn = await self._call(*args)
            for row in sorted({row for its_rows in rows for row in its_rows}):
                await self._reach(row)
                yield [
                    (place, np.where(np.arange(codes.size) < row * ROWS, codes, -1))
                    for place, codes in enumerate(drawn)
                    if row in rows[place]
                ]
            await self._reach(ROWS)
        finally:
            self.drawing -= len(seeds)
        yield list(enumerate(drawn))

    async def _reach(self, row: int) -> None:
        while self.rows_allowed < row:
            await asyncio.sleep(0.01)
        if self.row_errors:
            raise self.row_errors.pop()[1]


class StudioGateway(Gateway):
    """The gateway, with what it asks Ray answered here."""

    async def readiness(self) -> dict[str, Any]:
        return {"ready": True, "stages": {}, "pending_images": self._admission.pending_images, "seconds_an_image": 2.0}


class Studio:
    """A service in a thread of its own, to be used in a `with` block."""

    def __init__(self, config: AppConfig):
        cells = read_image(SHEET).reshape(-1, CELL, COLUMNS, CELL, 3).swapaxes(1, 2).reshape(PICTURES, CELL, CELL, 3)
        self.encoder = FakeStage(encoded)
        self.sampler = Sampler()
        stages = {
            "text_encoder": self.encoder,
            "token_sampler": self.sampler,
            "refiner": FakeRefiner(),
            "image_decoder": ImageDecoder(lambda codes: cells[codes[:, 0]].repeat(2, axis=1).repeat(2, axis=2)),
            "clip_scorer": FakeStage(
                lambda prompt, images: [
                    float((cells == image[::2, ::2]).all(axis=(1, 2, 3)).argmax()) for image in images
                ]
            ),
        }
        config = config.model_copy(
            update={"cache": CacheConfig(results_max_bytes=0, prompts_max_bytes=0)}
        )  # every request is drawn
        (model,) = config.models
        self.gateway = StudioGateway(config, {model.id: stages}, build_api)
        self.url = f"http://127.0.0.1:{free_port()}"
        port = int(self.url.rpartition(":")[2])
        self._server = uvicorn.Server(
            uvicorn.Config(build_api(self.gateway), port=port, log_level="warning", timeout_graceful_shutdown=2)
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> "Studio":
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def __exit__(self, *error: object) -> None:
        self.sampler.rows_allowed = ROWS
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)


class ImageDecoder(FakeStage):
    """Decodes; and reads an uploaded picture as picture 0."""

    @property
    def encode(self) -> FakeStage:
        return FakeStage(lambda image: np.zeros(ROWS * ROWS, np.int32))


def wait_until(condition: Callable[[], bool]) -> None:
    """Returns once it is so; fails where it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
