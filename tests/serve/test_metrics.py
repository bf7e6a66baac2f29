"""What a running service exports, against every name and label that the dashboard shows and the alerts watch."""

import json
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deployments.config import APP_NAME
from deployments.local import LocalService

MONITORING = Path(__file__).parents[2] / "cluster/monitoring"
GENERATIONS = "/v1/images/generations"
MAY_NOT_HAPPEN = {
    "ray_dalle_serve_retries_total",
    "ray_dalle_serve_unranked_requests_total",
    "ray_dalle_serve_sampler_near_ties_total",
    "ray_dalle_serve_sampler_given_way_total",
    "ray_dalle_serve_key_images_drawn_total",
    "ray_dalle_serve_refiner_pictures_total",  # a refiner is there where one is asked for
    "ray_dalle_serve_refiner_picture_seconds_bucket",
    "ray_dalle_serve_refiner_steps_total",
    "ray_dalle_serve_energy_joules_total",  # where something measures it
    "ray_node_gpu_power_milliwatts",
}
OURS = f'application="{APP_NAME}"'
PATIENCE_S = 120.0

Labels = dict[str, set[str]]


@dataclass(frozen=True)
class Query:
    """A question to Prometheus: the metrics in it, the labels that it groups by or matches, and where it shows them."""

    text: str
    shown: str = ""

    @property
    def metrics(self) -> set[str]:
        return set(re.findall(r"\bray_[a-z_]+", self.text))

    @property
    def labels(self) -> set[str]:
        grouped = ", ".join(re.findall(r"\bby \(([^)]*)\)", self.text))
        matched = re.findall(r'(\w+)\s*=~?"', self.text)
        shown = re.findall(r"{{\s*(?:\$labels\.)?(\w+)\s*}}", self.shown)
        return {name for name in [*re.split(r",\s*", grouped), *matched, *shown] if name}


def queries() -> list[Query]:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", [])]
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    return [
        *(Query(target["expr"], target["legendFormat"]) for target in targets),
        *(Query(rule["expr"], rule["annotations"]["summary"]) for rule in rules),
    ]


def exported() -> dict[str, Labels]:
    """Every sample of this service that the nodes export, by its whole name, with all values of each of its labels.

    Tests that ran before may have had applications of their own on the same cluster.
    """
    import ray

    addresses = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in ray.nodes() if node["Alive"]]
    found: dict[str, Labels] = defaultdict(lambda: defaultdict(set))
    for address in addresses:
        text = httpx.get(f"http://{address}/metrics", timeout=30, trust_env=False).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.labels.get("application", APP_NAME) != APP_NAME:
                    continue
                for name, value in sample.labels.items():
                    found[sample.name][name].add(value)
    return found


@pytest.fixture(scope="module")
def samples(service: LocalService) -> dict[str, Labels]:
    """What is exported once everything has been used that needs neither trouble nor chance."""
    fields = {"prompt": "an avocado", "best_of": 2}
    with httpx.Client(base_url=service.url, timeout=PATIENCE_S) as http:
        assert http.post(GENERATIONS, json=fields | {"seed": 1}).status_code == 200
        assert http.post(GENERATIONS, json=fields | {"stream": True, "partial_images": 2}).status_code == 200
        assert http.post(GENERATIONS, json=fields | {"best_of": 0}).status_code == 400
    wanted = {name for query in queries() for name in query.metrics} - MAY_NOT_HAPPEN
    deadline = time.monotonic() + PATIENCE_S
    while missing := wanted - (found := exported()).keys():  # Ray sends what is counted every few seconds
        assert time.monotonic() < deadline, f"never exported: {sorted(missing)}"
        time.sleep(1)  # between looks, until the deadline
    return found


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.text[:60])
def test_what_is_watched_is_exported_with_these_labels(query: Query, samples: dict[str, Labels]):
    for name in query.metrics & samples.keys():
        assert query.labels <= samples[name].keys(), f"{name} has only {sorted(samples[name])}"
        if OURS in query.text:
            assert APP_NAME in samples[name]["application"]


def test_every_query_is_about_something(samples: dict[str, Labels]):
    unseen = {name for query in queries() for name in query.metrics} - samples.keys()
    assert unseen <= MAY_NOT_HAPPEN
    assert all(query.metrics for query in queries())


def test_labels_say_which(samples: dict[str, Labels]):
    assert samples["ray_dalle_serve_images_drawn_total"]["model"] == {"tiny"}
    assert samples["ray_dalle_serve_sampler_codes_total"]["deployment"] == {"tiny.token_sampler"}
    assert samples["ray_dalle_serve_requests_total"]["outcome"] >= {"ok"}
    stages = {"tiny.text_encoder", "tiny.image_decoder", "tiny.clip_scorer"}
    assert samples["ray_serve_batch_execution_time_ms_bucket"]["deployment"] == stages
    assert samples["ray_serve_deployment_replica_healthy"]["deployment"] == {"gateway", "tiny.token_sampler", *stages}
