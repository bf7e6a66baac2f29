import pytest

from deployments.config import TokenSamplerConfig
from deployments.gateway.served_model import _spread


@pytest.mark.parametrize(
    ("replicas", "slots", "images"),
    [(1, 5, 5), (2, 5, 5), (3, 5, 3), (100, 5, 1), (100, 32, 4), (100, 64, 8)],
)
def test_a_requests_images_are_spread_over_the_replicas_but_not_over_many_slots(replicas: int, slots: int, images: int):
    sampler = TokenSamplerConfig(max_replicas=replicas, slots=slots, max_ongoing_requests=slots)
    assert _spread(10, sampler) == images
