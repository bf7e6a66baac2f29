"""The files of `cluster/`: what can be known of them without a cluster."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray._private.accelerators.tpu import TPUAcceleratorManager  # what `ray up` asks before it makes a TPU machine
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from cluster.check_image import copied_by, installs_of, targets_of
from deployments.config import AppConfig, DeploymentConfig, TextEncoderConfig, TokenSamplerConfig
from deployments.telemetry.metrics import (
    PREFIX,
    EnergyMetrics,
    PipelineMetrics,
    RefinerMetrics,
    RequestMetrics,
    SamplerMetrics,
)
from model_core.bench.models import SIZES
from model_core.families.llama.sizes import BlockSizes
from model_core.families.llama.t5 import family as t5
from model_core.families.llama.t5.config import T5Config
from model_core.inspection import memory_of
from tests.unit.deployments.test_config import unknown_keys

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "cluster"
MONITORING = CLUSTER / "monitoring"
KINDS = ("gpu", "tpu")


def load(path: str) -> Any:
    return yaml.safe_load((CLUSTER / path).read_text())


def ray_service(kind: str) -> dict[str, Any]:
    (service, _policy) = yaml.safe_load_all((CLUSTER / f"kuberay/{kind}.yaml").read_text())
    return service["spec"]


def exported_names() -> set[str]:
    """The names of our metrics, as Ray exports them."""
    names = set()
    for owner in (RequestMetrics(), PipelineMetrics("x"), SamplerMetrics(), RefinerMetrics(), EnergyMetrics("x")):
        metrics = [value for value in vars(owner).values() if hasattr(value, "info")]
        names |= {f"ray_{m.info['name']}" + "_total" * (type(m).__name__ == "Counter") for m in metrics}
    return names


def named_in(text: str) -> set[str]:
    """The metrics in queries, without the endings of a histogram's parts."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bray_[a-z_]+", text)}


@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_serves_what_the_plain_file_says(kind: str):
    inside, plain = yaml.safe_load(ray_service(kind)["serveConfigV2"]), load(f"{kind}.yaml")
    assert unknown_keys(inside, ServeDeploySchema) == []
    ServeDeploySchema.model_validate(inside)
    (application,) = inside["applications"]
    config = AppConfig.model_validate(application["args"])
    assert config.access.keys_file  # the port is open to more than the machine
    del application["args"]["access"]
    assert inside.pop("http_options") == plain.pop("http_options") | {"host": "0.0.0.0"}
    assert inside == plain


@pytest.mark.parametrize("kind", KINDS)
def test_on_kubernetes_nothing_is_open_root_or_of_another_version(kind: str):
    cluster = ray_service(kind)["rayClusterConfig"]
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["gcsFaultToleranceOptions"]["redisAddress"]
    pods = [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]
    for pod in pods:
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["runAsNonRoot"] and container["securityContext"]["runAsUser"] != 0
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["resources"]["limits"].keys() == container["resources"]["requests"].keys()


@pytest.mark.parametrize("kind", KINDS)
def test_every_replica_fits_a_worker(kind: str):
    """Of each stage at least one replica, and the gateway, fit the workers that there are at first."""
    cluster = ray_service(kind)["rayClusterConfig"]
    (group,) = cluster["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    chips = float(limits.get("nvidia.com/gpu", 0)), float(limits.get("google.com/tpu", 0))
    config = AppConfig.model_validate(load(f"{kind}.yaml")["applications"][0]["args"])
    wanted = [config.gateway, *config.models[0].stages.values()]
    assert all(
        stage.num_cpus <= float(limits["cpu"])
        and stage.num_gpus <= chips[0]
        and stage.resources.get("TPU", 0) <= chips[1]
        for stage in wanted
    )
    for need, there in (
        (lambda stage: stage.num_cpus, float(limits["cpu"])),
        (lambda stage: stage.num_gpus, chips[0]),
        (lambda stage: stage.resources.get("TPU", 0), chips[1]),
    ):
        assert sum(stage.min_replicas * need(stage) for stage in wanted) <= group["replicas"] * there


@pytest.mark.parametrize("kind", KINDS)
def test_ray_up_takes_the_file(kind: str):
    content = load(f"ray-up/{kind}.yaml")
    validate_config(prepare_config(content))
    for machine in content["available_node_types"].values():
        kind_of_chip = machine["node_config"].get("acceleratorType", "v6e-1")
        assert TPUAcceleratorManager.is_valid_tpu_accelerator_type(kind_of_chip)
    starts = content["head_start_ray_commands"][-1], content["worker_start_ray_commands"][-1]
    assert all("RAY_AUTH_MODE=token" in start for start in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


SHARED = ("gpu", "models", "janus")
GB = 1e9
T5_XL = T5Config(
    blocks=BlockSizes(width=2048, layers=24, heads=32, kv_heads=32, head_width=64, hidden=5120, eps=1e-6),
    vocabulary=32128,
    buckets=32,
    furthest=128,
)


def stages_of(kind: str) -> list[tuple[str, str, DeploymentConfig]]:
    """(model, stage, settings) of each stage of a Serve file."""
    config = AppConfig.model_validate(load(f"{kind}.yaml")["applications"][0]["args"])
    return [(model.id, name, stage) for model in config.models for name, stage in model.stages.items()]


@pytest.mark.parametrize("kind", SHARED)
def test_whatever_shares_a_gpu_fits_it(kind: str):
    """Ray puts together what its books allow, so each has to keep to its share of the memory."""
    for model, name, stage in stages_of(kind):
        if stage.num_gpus:
            fraction = float(stage.environment["XLA_CLIENT_MEM_FRACTION"])
            assert 0.7 * stage.num_gpus <= fraction < stage.num_gpus, (model, name)
        else:
            assert stage.env_vars == {"JAX_PLATFORMS": "cpu"}, (model, name)


@pytest.mark.parametrize(("kind", "gigabytes", "count"), [("models", 80, 5), ("janus", 24, 1)])
def test_text_encoders_and_samplers_have_room_for_their_weights_and_slots(kind: str, gigabytes: int, count: int):
    """A third of the room is for what is computed. Decoders and scorers have less than a gigabyte of weights."""
    sizes = {"mini": SIZES["mini"], "llamagen": SIZES["llamagen-xl"] | {"text": (t5, T5_XL)}}
    sizes |= dict.fromkeys(("janus-pro-1b", "janus-pro"), SIZES["janus-pro-1b"])
    roles = {"text_encoder": "text", "token_sampler": "sampler"}
    stages = [stage for stage in stages_of(kind) if stage[1] in roles and stage[2].num_gpus]
    for model, name, stage in stages:
        assert isinstance(stage, TextEncoderConfig | TokenSamplerConfig) and stage.memory_fraction
        network, config = sizes[model].get(roles[name]) or sizes[model]["sampler"]
        memory = memory_of(network, config, roles[name], stage.dtype)
        slots = stage.slots if isinstance(stage, TokenSamplerConfig) else 0
        needed = memory["bytes"] + slots * (memory.get("slot_bytes", 0) + memory.get("text_bytes", 0))
        assert 0 < 1.5 * needed < stage.memory_fraction * gigabytes * GB, (model, name, needed)
    assert len(stages) == count


def test_ray_up_refuses_what_it_does_not_know():
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config(load("ray-up/gpu.yaml") | {"max_wrokers": 3}))


def test_the_image_copies_what_exists_and_never_runs_as_root():
    stages = targets_of((CLUSTER / "Dockerfile").read_text())
    assert set(stages) == {"base", "cpu", "gpu", "tpu"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for target in ("cpu", "gpu", "tpu"):
        copied = {name for names, _ in copied_by(stages[target]) for name in names}
        assert copied and all((ROOT / name).exists() for name in copied)
        assert stages[target].index("USER 1000") > max(n for n, line in enumerate(stages[target]) if "RUN" in line)
        lock, own = installs_of(stages[target])
        assert lock[-1] == "requirements.lock" and "--require-hashes" in lock and lock[-1] in copied
        assert own[-1] == "." or own[-1].removeprefix(".[").removesuffix("]") in extras


def test_the_dashboard_shows_every_metric_and_no_other_of_ours():
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    shown = named_in(" ".join(target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])))
    assert {name for name in shown if name.startswith(f"ray_{PREFIX}")} == exported_names()


def test_alerts_use_metrics_that_exist_and_lead_to_the_runbook():
    rules = [rule for group in load("monitoring/alerts.yml")["groups"] for rule in group["rules"]]
    ours = {name for rule in rules for name in named_in(rule["expr"]) if name.startswith(f"ray_{PREFIX}")}
    assert ours <= exported_names()
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    anchors = {f"docs/runbook.md#{heading.lower().replace(' ', '-')}" for heading in headings}
    assert {rule["annotations"]["runbook"] for rule in rules} <= anchors


def test_prometheus_reads_the_file_that_ray_writes_and_these_alerts():
    content = load("monitoring/prometheus.yml")
    assert content["rule_files"] == ["alerts.yml"]
    (files,) = content["scrape_configs"][0]["file_sd_configs"]
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    assert files["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]
