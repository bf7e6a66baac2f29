"""Reads what a Ray cluster exports for Prometheus, as Prometheus would: over HTTP, from the nodes that Ray lists.

Knows nothing of Ray but the file in which it lists them.
"""

import json
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

HEALTHY = "ray_serve_deployment_replica_healthy"
PENDING = "ray_dalle_serve_pending_images"
SAMPLER = "ray_dalle_serve_sampler_"
DISCOVERY_FILE = Path("/tmp/ray/prom_metrics_service_discovery.json")
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The service at one moment.

    Attributes:
      replicas: healthy ones, by deployment.
      pending_images: asked for and not drawn yet.
      active_slots: of the samplers, in which an image is drawn.
      waiting_images: in the samplers, for a slot.
      codes_drawn: by the samplers since they started.
    """

    replicas: dict[str, int] = field(default_factory=dict)
    pending_images: float = 0.0
    active_slots: float = 0.0
    waiting_images: float = 0.0
    codes_drawn: float = 0.0


def targets(discovery_file: Path = DISCOVERY_FILE) -> list[str]:
    """The addresses to ask, host:port."""
    return [target for group in json.loads(discovery_file.read_text()) for target in group["targets"]]


def snapshot(addresses: list[str]) -> Snapshot:
    """Asks every node once; one that does not answer has nothing to say."""
    return parse([text for text in map(_read, addresses) if text])


def parse(texts: list[str]) -> Snapshot:
    """Picks what a snapshot holds out of the nodes' answers."""
    sums: defaultdict[str, float] = defaultdict(float)
    replicas: defaultdict[str, float] = defaultdict(float)
    for text in texts:
        # Only these lines: Ray exports thousands, and reading them all each second would take the service's cores.
        ours = [line for line in text.splitlines() if line.startswith((HEALTHY, PENDING, SAMPLER))]
        for family in text_string_to_metric_families("\n".join(ours) + "\n"):
            for sample in family.samples:
                if sample.name == HEALTHY:
                    replicas[sample.labels["deployment"]] += sample.value
                else:
                    sums[sample.name] += sample.value
    return Snapshot(
        replicas={name: round(count) for name, count in sorted(replicas.items())},
        pending_images=sums[PENDING],
        active_slots=sums[f"{SAMPLER}active_slots"],
        waiting_images=sums[f"{SAMPLER}waiting_images"],
        codes_drawn=sums[f"{SAMPLER}codes_total"],
    )


def _read(address: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would not reach this machine
    try:
        with opener.open(f"http://{address}/metrics", timeout=TIMEOUT_S) as reply:
            return reply.read().decode()
    except OSError:
        return ""
