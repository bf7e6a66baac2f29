from typing import Any

import pytest
from ray.serve._private.build_app import build_app as graph_of  # the only way to look into a bound graph

from deployments.app import build_app
from deployments.config import AppConfig, ModelConfig


def test_every_stage_of_every_model_is_a_deployment_of_its_own():
    config = AppConfig(models=[ModelConfig(id="emoji"), ModelConfig(id="plain", clip_scorer=None)])
    built = graph_of(build_app(config), name="dalle-serve")
    assert built.ingress_deployment_name == "gateway"
    assert sorted(deployment.name for deployment in built.deployments) == [
        "emoji.clip_scorer",
        "emoji.image_decoder",
        "emoji.text_encoder",
        "emoji.token_sampler",
        "gateway",
        "plain.image_decoder",
        "plain.text_encoder",
        "plain.token_sampler",
    ]


def test_models_on_demand_share_the_stages_that_they_have():
    models = [
        ModelConfig(id="emoji"),
        ModelConfig(id="one", on_demand=True, clip_scorer=None),
        ModelConfig(id="two", on_demand=True),
    ]
    config = AppConfig.model_validate({"models": models, "on_demand": {"clip_scorer": {"max_memory_bytes": 1000}}})
    built = graph_of(build_app(config), name="dalle-serve")
    shared = {one.name: one for one in built.deployments if one.name.startswith("on_demand.")}
    stages = {"text_encoder", "token_sampler", "image_decoder", "clip_scorer"}
    assert shared.keys() == {f"on_demand.{name}" for name in stages}
    assert len(built.deployments) == 1 + 4 + 4
    _, name, parts, room = shared["on_demand.clip_scorer"].init_args
    assert (name, set(parts), room) == ("clip_scorer", {"two"}, 1000)
    assert set(shared["on_demand.token_sampler"].init_args[2]) == {"one", "two"}
    with pytest.raises(ValueError, match="on_demand"):
        AppConfig(models=[ModelConfig(id="on_demand"), ModelConfig(id="two", on_demand=True)])


def test_a_stages_settings_reach_its_deployment():
    model = ModelConfig.model_validate({"token_sampler": {"max_replicas": 3, "num_gpus": 1, "slots": 2}})
    built = graph_of(build_app(AppConfig(models=[model])), name="dalle-serve")
    (sampler,) = [deployment for deployment in built.deployments if deployment.name == "emoji.token_sampler"]
    assert sampler._deployment_config.autoscaling_config.max_replicas == 3
    assert sampler.ray_actor_options["num_gpus"] == 1
    assert sampler.init_args == ("emoji", model.token_sampler)


@pytest.mark.parametrize(
    ("settings", "is_there"),
    [({}, False), ({"gateway": {"max_replicas": 2}}, True), ({"access": {"keys_file": "keys"}}, True)],
)
def test_what_gateways_share_is_a_deployment_where_something_is_shared(settings: dict[str, Any], is_there: bool):
    built = graph_of(build_app(settings), name="dalle-serve")
    assert ("commons" in {deployment.name for deployment in built.deployments}) == is_there


def test_a_serve_file_may_give_the_gateway_settings_that_change_while_it_runs():
    """Serve calls `reconfigure` where there is a `user_config`, at the start too, when a wrong one is refused."""
    built = graph_of(build_app({}), name="dalle-serve")
    (gateway,) = [deployment for deployment in built.deployments if deployment.name == "gateway"]
    assert gateway.user_config == {}
