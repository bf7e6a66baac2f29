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


def test_a_stages_settings_reach_its_deployment():
    model = ModelConfig.model_validate({"token_sampler": {"max_replicas": 3, "num_gpus": 1, "slots": 2}})
    built = graph_of(build_app(AppConfig(models=[model])), name="dalle-serve")
    (sampler,) = [deployment for deployment in built.deployments if deployment.name == "emoji.token_sampler"]
    assert sampler._deployment_config.autoscaling_config.max_replicas == 3
    assert sampler.ray_actor_options["num_gpus"] == 1
    assert sampler.init_args == ("emoji", model.token_sampler)
