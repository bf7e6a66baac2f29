from typing import Any

import pytest

from deployments.config import AccessConfig, AppConfig, GatewayConfig, Limits, ModelConfig, SafetyConfig
from deployments.errors import InvalidSettings
from deployments.gateway.settings import changed, checked

CONFIG = AppConfig(
    models=[ModelConfig(id="a", sampling={"top_k": 5}), ModelConfig(id="b")],
    gateway=GatewayConfig(max_pending_images=300, images_in_flight=3),
    limits=Limits(max_n=4, max_best_of=200),
    safety=SafetyConfig(refuse_from=0.7),
    access=AccessConfig(images_per_minute=7, cors_origins=["*"]),
)


def test_what_is_not_named_stays_as_it_was():
    now = changed(
        CONFIG, {"limits": {"max_n": 2}, "access": {"images_per_minute": None}, "sampling": {"b": {"top_k": 3}}}
    )
    assert (now.limits.max_n, now.limits.max_best_of, now.access.images_per_minute) == (2, 200, None)
    assert [model.sampling for model in now.models] == [{"top_k": 5}, {"top_k": 3}]
    assert now.gateway == CONFIG.gateway and now.safety == CONFIG.safety
    assert changed(CONFIG, {}) == CONFIG


@pytest.mark.parametrize(
    ("user_config", "message"),
    [
        ({"gateway": {"images_in_flight": 3}}, "gateway.images_in_flight cannot change while the service runs"),
        ({"access": {"cors_origins": []}}, "access.cors_origins cannot change"),
        ({"models": {}}, "models cannot change"),
        ({"limits": {"max_m": 1}}, "limits.max_m: there is no such setting"),
        ({"limits": {"max_n": 0}}, "limits.max_n: must be greater than or equal to 1, got 0"),
        ({"limits": 3}, "limits must have named settings, got int"),
        ({"limits": {"max_best_of": 400}}, "could never be accepted"),
        ({"sampling": {"c": {}}}, "must name models; there are a, b"),
        ({"sampling": {"a": "hot"}}, "sampling"),
        ([], "must have named settings, got list"),
    ],
)
def test_what_is_wrong_is_named(user_config: Any, message: str):
    with pytest.raises(InvalidSettings, match=message):
        changed(CONFIG, user_config)


def test_settings_are_read_strictly():
    with pytest.raises(InvalidSettings, match="limitz: there is no such setting"):
        checked({"limitz": {}})
