"""The stage that turns image codes into images, and back: a shim over `model_core.stages.ImageDecoder`."""

import asyncio

import numpy as np

from deployments.config import ImageDecoderConfig
from deployments.stages.batching import batched
from deployments.stages.health import Health
from deployments.telemetry import energy


class ImageDecoderDeployment:
    """Decodes image codes, and encodes images."""

    def __init__(self, model: str, config: ImageDecoderConfig):
        from model_core import bundles, stages

        folder = bundles.resolve(model).codec
        self._stage = stages.ImageDecoder(folder, dtype=config.dtype, batch_size=config.batch_size)
        self._stage.warm_up()
        energy.report()
        # One by one where that is how they are computed, so that none waits for the others of a batch.
        self._health = Health()
        decode, encode = self._health.watched(self._decode), self._health.watched(self._encode)
        self._decode_batched = batched(decode, self._stage.batch_size, config.batch_wait_timeout_s)
        self._encode_batched = batched(encode, self._stage.batch_size, config.batch_wait_timeout_s)

    async def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turns codes of some images, int32 [B, N], into these images, uint8 [B, height, width, 3]."""
        return np.stack(await asyncio.gather(*map(self._decode_batched, codes)))

    async def encode(self, image: np.ndarray) -> np.ndarray:
        """Turns an image of the model's size, uint8 [height, width, 3], into the codes that come nearest, int32 [N]."""
        return await self._encode_batched(image)

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises `NotFinite`."""
        self._health.check()

    def _decode(self, codes: list[np.ndarray]) -> list[np.ndarray]:
        return list(self._stage.decode(np.stack(codes)))

    def _encode(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return list(self._stage.encode(np.stack(images)))
