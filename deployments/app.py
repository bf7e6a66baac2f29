"""The deployment graph on one screen: a gateway in the middle, the stages of each model around it.

                     ┌─▶ <model>.text_encoder    prompt → conditions
    HTTP,            ├─▶ <model>.token_sampler   conditions → image codes
    handle ─▶ gateway┼─▶ <model>.image_decoder   image codes → pixels
                     ├─▶ <model>.clip_scorer     prompt, pixels → score
                     └─▶ <model>.refiner         prompts, pixels → pixels that fit better, where there is one

No stage knows another. Models that are there on demand share theirs, `on_demand.<stage>`. Where there are several
gateways, or keys, there is a `commons` too. In a Serve YAML: `import_path: deployments.app:build_app`, and the fields
of `AppConfig` under `args:`.
"""

from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve import Application

from deployments.api.routes import build_api
from deployments.config import ON_DEMAND, AppConfig, ModelConfig
from deployments.gateway.commons import NAME, Commons
from deployments.gateway.gateway import Gateway
from deployments.serve_file import read_settings
from deployments.stages.clip_scorer import ClipScorerDeployment
from deployments.stages.image_decoder import ImageDecoderDeployment
from deployments.stages.on_demand import OnDemandStage
from deployments.stages.refiner import RefinerDeployment
from deployments.stages.text_encoder import TextEncoderDeployment
from deployments.stages.token_sampler import TokenSamplerDeployment

STAGES = {
    "text_encoder": TextEncoderDeployment,
    "token_sampler": TokenSamplerDeployment,
    "image_decoder": ImageDecoderDeployment,
    "clip_scorer": ClipScorerDeployment,
    "refiner": RefinerDeployment,
}
# It waits for nothing but its own answers, and computes next to nothing.
COMMONS_OPTIONS = {
    "num_replicas": 1,
    "max_ongoing_requests": 1000,
    "health_check_period_s": 3,
    "graceful_shutdown_timeout_s": 1,
    "ray_actor_options": {"num_cpus": 0},
}


def build_app(settings: AppConfig | Mapping[str, Any]) -> Application:
    """Turns settings into the application that `serve.run` takes.

    Raises:
      InvalidSettings: names every setting that is wrong.
    """
    config = read_settings(settings)
    shared = _bind_shared_stages(config)
    stages = {
        model.id: {name: shared[name] for name in model.stages} if model.on_demand else _bind_stages(model)
        for model in config.models
    }
    commons = None
    if config.needs_commons:
        commons = serve.deployment(Commons).options(name=NAME, **COMMONS_OPTIONS).bind(config.cache)
    # Of a Serve file another may take the place of this `user_config`; see `gateway/settings.py`.
    options = config.gateway.deployment_options() | {"user_config": {}}
    ingress = serve.deployment(serve.ingress()(Gateway)).options(name="gateway", **options)
    return ingress.bind(config, stages, build_api, commons)


def _bind_shared_stages(config: AppConfig) -> dict[str, Application]:
    """A deployment for each stage that some model on demand has."""
    models = [model for model in config.models if model.on_demand]
    shared = {}
    for name, stage in config.on_demand:
        parts = {model.id: (model.location, model.stages[name]) for model in models if name in model.stages}
        if parts:
            deployment = serve.deployment(OnDemandStage).options(
                name=f"{ON_DEMAND}.{name}", **stage.deployment_options()
            )
            shared[name] = deployment.bind(STAGES[name], name, parts, stage.max_memory_bytes)
    return shared


def _bind_stages(model: ModelConfig) -> dict[str, Application]:
    return {
        name: serve.deployment(STAGES[name])
        .options(name=model.deployment_name(name), **stage.deployment_options())
        .bind(model.location, stage)
        for name, stage in model.stages.items()
    }
