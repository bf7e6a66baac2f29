"""The optional look at finished images: the scorer compares each with concepts that no image may show.

A zero-shot classifier out of the stage that is there anyway: the scores of an image with every refused and every
neutral concept become probabilities (softmax), and the refused ones' sum is compared with the limit. What it can see is
what the scorer has learned.
"""

import math
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from deployments.config import SafetyConfig
from deployments.errors import ContentRefused
from deployments.flow.calls import all_of

Score = Callable[[str, np.ndarray], Awaitable[float]]


class ImageCheck:
    """Refuses images by `score`: how well one, uint8 [height, width, 3], shows a text; larger is better."""

    def __init__(self, score: Score, config: SafetyConfig):
        self._score = score
        self._refused = config.refused_concepts
        self._neutral = config.neutral_concepts
        self._refuse_from = config.refuse_from

    @property
    def is_on(self) -> bool:
        """Whether there is anything to refuse."""
        return bool(self._refused)

    async def check(self, images: Sequence[np.ndarray], seeds: Sequence[int]) -> list[float]:
        """Gives each image's probability of showing a refused concept, all below the limit.

        Raises:
          ContentRefused: some image is at the limit or above; names the images' seeds.
        """
        found = await all_of(self._probability(image) for image in images)
        refused = [
            str(seed) for seed, probability in zip(seeds, found, strict=True) if probability >= self._refuse_from
        ]
        if refused:
            raise ContentRefused(
                f"{len(refused)} of {len(images)} images were refused by this service's content policy (seed "
                f"{', '.join(refused)}). Another seed or prompt may do.",
                "prompt",
                "output",
            )
        return found

    async def _probability(self, image: np.ndarray) -> float:
        concepts = (*self._refused, *self._neutral)
        scores = await all_of(self._score(concept, image) for concept in concepts)
        return refused_share(scores, len(self._refused))


def refused_share(scores: Sequence[float], num_refused: int) -> float:
    """The probability that the first `num_refused` scores have together, by softmax."""
    largest = max(scores)
    weights = [math.exp(score - largest) for score in scores]
    return sum(weights[:num_refused]) / sum(weights)
