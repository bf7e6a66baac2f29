"""The stage that turns prompts into encoder states: a shim over `model_core.stages.TextEncoder`.

Knows nothing of the other stages or of HTTP. The models are imported when a replica starts, not with this module.
"""

import asyncio
from collections.abc import Sequence

import numpy as np

from deployments.config import TextEncoderConfig
from deployments.stages.batching import batched

EncodedPrompt = tuple[np.ndarray, np.ndarray]  # states float32 [T, D], mask int32 [T]


class TextEncoderDeployment:
    """Encodes prompts."""

    def __init__(self, model: str, config: TextEncoderConfig):
        from model_core import stages
        from model_core.weights import bundles

        folder = bundles.resolve(model).dalle_bart
        self._stage = stages.TextEncoder(
            folder, dtype=config.dtype, batch_size=config.batch_size, num_devices=config.num_devices
        )
        self._stage.warm_up()
        self._encode_batched = batched(self._encode, config.batch_size, config.batch_wait_timeout_s)

    async def encode(self, prompts: Sequence[str]) -> list[EncodedPrompt]:
        """Turns a request's prompts into their encoder states [T, D] and masks [T]."""
        return await asyncio.gather(*map(self._encode_batched, prompts))

    async def wake(self) -> None:
        """Does nothing: being called brings the stage back where it has scaled to zero."""

    def _encode(self, prompts: list[str]) -> list[EncodedPrompt]:
        encoded = self._stage.encode(prompts)
        return list(zip(encoded.states, encoded.mask, strict=True))
