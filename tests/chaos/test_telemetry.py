"""What a running service exports, against what the dashboard shows and the alerts watch."""

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import ray
import yaml

from deployments.local import LocalService

MONITORING = Path(__file__).parents[2] / "cluster/monitoring"
GENERATIONS = "/v1/images/generations"
ONLY_IN_TROUBLE = {"ray_dalle_serve_retries_total", "ray_dalle_serve_unranked_requests_total"}
PATIENCE_S = 120.0


def named_in(text: str) -> set[str]:
    """The metrics in a text, without the endings of a histogram's parts."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bray_[a-z_]+", text)}


def named() -> set[str]:
    """Every metric that the dashboard or an alert asks for."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return named_in(" ".join([*queries, *(rule["expr"] for rule in rules)]))


def exported() -> dict[str, str]:
    """What the nodes export: a line of each metric, by its name without the endings of a histogram's parts."""
    addresses = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in ray.nodes() if node["Alive"]]
    texts = [httpx.get(f"http://{address}/metrics", timeout=30, trust_env=False).text for address in addresses]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("ray_")]
    return {name: line for line in lines for name in named_in(line.split("{")[0])}


def test_a_running_service_exports_what_is_watched(service: LocalService):
    fields: dict[str, Any] = {"prompt": "an avocado", "best_of": 2}
    with httpx.Client(base_url=service.url, timeout=PATIENCE_S) as http:
        assert http.post(GENERATIONS, json=fields).status_code == 200
        assert http.post(GENERATIONS, json=fields | {"stream": True, "partial_images": 2}).status_code == 200
    wanted = named() - ONLY_IN_TROUBLE
    deadline = time.monotonic() + PATIENCE_S
    while missing := wanted - exported().keys():  # Ray sends what is counted every few seconds
        assert time.monotonic() < deadline, f"never exported: {sorted(missing)}"
        time.sleep(1)
    lines = exported()
    assert 'model="tiny"' in lines["ray_dalle_serve_images_drawn_total"]
    assert 'deployment="tiny.token_sampler"' in lines["ray_dalle_serve_sampler_codes_total"]
    assert re.search(r'outcome="(ok|invalid|refused|cancelled)"', lines["ray_dalle_serve_requests_total"])
