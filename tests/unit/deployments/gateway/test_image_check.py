import asyncio
import math

import numpy as np
import pytest

from deployments.config import SafetyConfig
from deployments.errors import ContentRefused
from deployments.gateway.image_check import ImageCheck, refused_share

WORDS = {"bad": 1.0, "worse": 1.0, "fine": 0.0}


async def score(text: str, image: np.ndarray) -> float:
    """The image's value for what is bad; fine is 0 whatever the image."""
    return WORDS[text] * float(image[0, 0, 0])


def check(*values: int, **settings: object) -> list[float]:
    config = SafetyConfig.model_validate({"refused_concepts": ["bad"], "neutral_concepts": ["fine"]} | settings)
    images = [np.full((2, 2, 3), value, np.uint8) for value in values]
    return asyncio.run(ImageCheck(score, config).check(images, seeds=[10 + i for i in range(len(values))]))


def test_each_image_has_its_verdict():
    assert check(0, 0, refuse_from=0.6) == [0.5, 0.5]
    with pytest.raises(ContentRefused, match=r"2 of 3 images .* \(seed 11, 12\)") as refused:
        check(0, 3, 4, refuse_from=0.6)
    assert refused.value.moderation_details == {"categories": ["refused_concepts"], "moderation_stage": "output"}


def test_the_refused_concepts_count_together():
    assert refused_share([1.0, 1.0, 1.0, 1.0], 2) == 0.5
    assert refused_share([1000.0, 0.0], 1) == 1.0
    assert refused_share([math.log(3), 0.0], 1) == pytest.approx(0.75)


def test_it_is_off_unless_there_are_concepts():
    assert not ImageCheck(score, SafetyConfig()).is_on
