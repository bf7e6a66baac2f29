"""The stage that scores images against their prompts: a shim over `model_core.stages.ImageScorer`."""

import asyncio

import numpy as np

from deployments.config import ClipScorerConfig
from deployments.errors import no_scorer
from deployments.stages.batching import batched
from deployments.stages.health import Health
from deployments.telemetry import energy


class ClipScorerDeployment:
    """Scores images."""

    def __init__(self, model: str, config: ClipScorerConfig):
        from model_core import bundles, stages

        bundle = bundles.resolve(model, scorer=config.source)
        if bundle.scorer is None:
            raise no_scorer(model)
        self._stage = stages.ImageScorer(
            bundle.scorer, dtype=config.dtype, batch_size=config.batch_size, known_prompts=bundle.known_prompts
        )
        self._stage.warm_up()
        energy.report()
        self._health = Health()
        self._score_batched = batched(
            self._health.watched(self._score), self._stage.batch_size, config.batch_wait_timeout_s
        )

    async def score(self, prompt: str, images: np.ndarray) -> list[float]:
        """Says how well each of some images, uint8 [B, height, width, 3], shows a prompt; larger is better."""
        return await asyncio.gather(*(self._score_batched(prompt, image) for image in images))

    async def tell(self, image: np.ndarray) -> str:
        """Says what an image, uint8 [height, width, 3], shows, in a prompt that the model knows; "" for none."""
        return await asyncio.to_thread(self._health.watched(self._stage.tell), image)

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises `NotFinite`."""
        self._health.check()

    def _score(self, prompts: list[str], images: list[np.ndarray]) -> list[float]:
        """Images of the same prompt go together; the scores come back in the order of the images."""
        scores = [0.0] * len(images)
        for prompt in dict.fromkeys(prompts):
            places = [place for place, other in enumerate(prompts) if other == prompt]
            found = self._stage.score(prompt, np.stack([images[place] for place in places]))
            for place, score in zip(places, found, strict=True):
                scores[place] = float(score)
        return scores
