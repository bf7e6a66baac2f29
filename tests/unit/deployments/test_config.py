from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray import serve
from ray.serve.schema import ServeDeploySchema

from deployments.config import AppConfig, StageConfig, TokenSamplerConfig
from deployments.serve_file import unknown_keys

SERVE_FILES = sorted((Path(__file__).parents[3] / "cluster").glob("*.yaml"))


def test_the_defaults_fit_a_laptop():
    config = AppConfig()
    stages = config.models[0].stages
    assert list(stages) == ["text_encoder", "token_sampler", "image_decoder", "clip_scorer"]
    assert config.gateway.num_cpus + sum(stage.num_cpus for stage in stages.values()) <= 2
    assert config.default_model_id == "emoji"


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("gateway",),
        ("limits",),
        ("models", 0),
        ("models", 0, "text_encoder"),
        ("models", 0, "token_sampler"),
        ("models", 0, "image_decoder"),
        ("models", 0, "clip_scorer"),
        ("models", 0, "refiner"),
    ],
)
def test_an_unknown_key_is_named(path: tuple[str | int, ...]):
    settings: Any = {"max_replicsa": 2}
    for key in reversed(path):
        settings = [settings] if key == 0 else {key: settings}
    with pytest.raises(ValidationError) as raised:
        AppConfig.model_validate(settings)
    assert [(error["type"], error["loc"][-1]) for error in raised.value.errors()] == [
        ("extra_forbidden", "max_replicsa")
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"models": []}, "at least 1 item"),
        ({"models": [{"id": "a"}, {"id": "a"}]}, "two models have the id 'a'"),
        ({"models": [{"id": "a/b"}]}, "pattern"),
        ({"models": [{"id": "a"}], "default_model": "b"}, "none of the models: a"),
        ({"limits": {"max_best_of": 1000}}, "could never be accepted"),
        ({"gateway": {"min_replicas": 3, "max_replicas": 2}}, "min_replicas 3 is more than max_replicas 2"),
        ({"models": [{"image_decoder": {"batch_size": 64}}]}, "no batch could ever fill"),
        ({"models": [{"token_sampler": {"slots": 64}}]}, "could never all be used"),
        ({"models": [{"on_demand": True, "refiner": {}}]}, "cannot be there on demand"),
    ],
)
def test_what_does_not_fit_together_is_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        AppConfig.model_validate(settings)


def test_a_stage_keeps_its_defaults_where_only_some_keys_are_given():
    (model,) = AppConfig.model_validate({"models": [{"token_sampler": {"max_replicas": 3}}]}).models
    assert model.token_sampler == TokenSamplerConfig(max_replicas=3)
    assert model.deployment_name("token_sampler") == "emoji.token_sampler"


def test_a_model_without_a_scorer_has_three_stages():
    (model,) = AppConfig.model_validate({"models": [{"clip_scorer": None}]}).models
    assert "clip_scorer" not in model.stages


def test_options_are_what_serve_takes():
    options = StageConfig(max_replicas=4, num_gpus=1, accelerator_type="A100", env_vars={"A": "1"}).deployment_options()
    assert options["autoscaling_config"]["max_replicas"] == 4
    assert options["ray_actor_options"]["accelerator_type"] == "A100"
    assert options["ray_actor_options"]["runtime_env"] == {"env_vars": {"A": "1"}}
    fraction = StageConfig(memory_fraction=0.4, env_vars={"A": "1"}).deployment_options()["ray_actor_options"]
    assert fraction["runtime_env"] == {"env_vars": {"XLA_CLIENT_MEM_FRACTION": "0.4", "A": "1"}}
    assert "runtime_env" not in StageConfig().deployment_options()["ray_actor_options"]
    placed = StageConfig(max_replicas_per_node=2, label_selector={"ray.io/market-type": "spot"}).deployment_options()
    assert placed["max_replicas_per_node"] == 2
    assert placed["ray_actor_options"]["label_selector"] == {"ray.io/market-type": "spot"}
    for known in (options, placed):
        serve.deployment(TokenSamplerConfig).options(**known)  # which refuses what it does not know


@pytest.mark.parametrize("path", SERVE_FILES, ids=lambda path: path.name)
def test_a_shipped_file_is_strictly_valid(path: Path):
    content = yaml.safe_load(path.read_text())
    assert unknown_keys(content, ServeDeploySchema) == []
    schema = ServeDeploySchema.model_validate(content)
    assert schema.http_options.host == "127.0.0.1"  # Serve's own default would be every address
    for application in schema.applications:
        assert application.import_path == "deployments.app:build_app"
        AppConfig.model_validate(application.args)


def test_the_strict_walk_finds_what_serve_overlooks():
    content = {"applications": [{"import_path": "a:b", "deployments": [{"name": "x", "num_replica": 2}]}], "htpp": {}}
    ServeDeploySchema.model_validate(content)
    assert unknown_keys(content, ServeDeploySchema) == ["htpp", "applications.deployments.num_replica"]
