"""The stage that draws image codes: a shim over `model_core.stages.TokenSampler`.

Knows nothing of the other stages or of HTTP. The models are imported when a replica starts, not with this module.
"""

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

import numpy as np

from deployments.batching import batched
from deployments.config import TokenSamplerConfig
from deployments.text_encoder import EncodedPrompt
from model_core.errors import CheckpointMismatch, InvalidValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the codes of an image are drawn; the fields of the request, none missing."""

    guidance_scale: float
    temperature: float
    top_k: int
    top_p: float


class TokenSampler:
    """Draws the codes of images; an image does not depend on the others in its batch."""

    def __init__(self, model: str, config: TokenSamplerConfig):
        from model_core import bundles, stages
        from model_core.json_files import read_json
        from model_core.vqgan import VQGANConfig

        bundle = bundles.resolve(model)
        vqgan = VQGANConfig.from_dict(read_json(bundle.vqgan, "config.json"))
        self._new_job = stages.SamplerJob
        self._stage = stages.TokenSampler(
            bundle.dalle_bart, dtype=config.dtype, batch_size=config.batch_size, num_codes=vqgan.n_embed
        )
        drawn, decoded = self._stage.config.image_length, vqgan.grid**2
        if drawn != decoded:
            raise CheckpointMismatch(f"{model}: DalleBart draws {drawn} codes an image, the VQGAN takes {decoded}.")
        self._stage.warm_up()
        self._sample_batched = batched(self._sample, config)

    async def sample_rows(
        self,
        prompt: EncodedPrompt,
        negative: EncodedPrompt,
        seed: int,
        sampling: Sampling,
        *,
        rows: tuple[int, ...],
        fixed_codes: np.ndarray | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> AsyncIterator[np.ndarray]:
        """Draws as `sample` does."""
        yield await self.sample(
            prompt, negative, seed, sampling, fixed_codes=fixed_codes, request_id=request_id, timeout_s=timeout_s
        )

    async def sample(
        self,
        prompt: EncodedPrompt,
        negative: EncodedPrompt,
        seed: int,
        sampling: Sampling,
        *,
        fixed_codes: np.ndarray | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> np.ndarray:
        """Draws the codes of one image, int32 [N].

        Args:
          prompt: what to draw, as the text encoder returned it.
          negative: what guidance leads away from; the empty prompt where nothing else was asked for.
          seed: of this image, below 2^32; the same seed gives the same codes whatever else is drawn.
          sampling: how to draw.
        """
        if fixed_codes is not None:
            raise InvalidValue("This sampler cannot fix codes.")
        job = self._new_job(
            states=prompt[0],
            mask=prompt[1],
            uncond_states=negative[0],
            uncond_mask=negative[1],
            seed=seed,
            **asdict(sampling),
        )
        return await self._sample_batched(job)

    def _sample(self, jobs: list) -> list[np.ndarray]:
        return list(self._stage.sample(jobs))
