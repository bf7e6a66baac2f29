"""Reads what a Ray cluster exports for Prometheus, as Prometheus would: over HTTP, from the nodes that Ray lists."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from loadtest.http import fetch

HEALTHY = "ray_serve_deployment_replica_healthy"
TARGET = "ray_serve_autoscaling_target_replicas"
PENDING = "ray_dalle_serve_pending_images"
SAMPLER = "ray_dalle_serve_sampler_"
DISCOVERY_FILE = Path("/tmp/ray/prom_metrics_service_discovery.json")
TIMEOUT_S = 5.0
MEMORY_S = 15.0  # Serve says how many replicas are well every 10 s

Series = tuple[str, tuple[tuple[str, str], ...]]  # a name, and its labels


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The service at one moment.

    Attributes:
      replicas: healthy ones, by deployment.
      targets: those that autoscaling aims at.
      pending_images: asked for and not drawn yet.
      active_slots: of the samplers, in which an image is drawn.
      batch_slots: of them those in which it is batch work.
      waiting_images: in the samplers, for a slot.
      codes_drawn: by the samplers since they started.
    """

    replicas: dict[str, int] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    pending_images: float = 0.0
    active_slots: float = 0.0
    batch_slots: float = 0.0
    waiting_images: float = 0.0
    codes_drawn: float = 0.0


class Watcher:
    """Asks the nodes again and again, and remembers what they said.

    Ray exports a gauge once for each time that it was set, so most of them are missing from most answers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seen: dict[Series, tuple[float, float]] = {}

    def look(self, addresses: list[str]) -> Snapshot:
        """Asks every node once; one that does not answer has nothing to say."""
        return self.take([text for text in map(_read, addresses) if text])

    def take(self, texts: list[str]) -> Snapshot:
        """Adds the nodes' answers to what is known; what nobody has said again for a while is forgotten."""
        now = self._clock()
        self._seen |= {series: (value, now) for text in texts for series, value in _series(text)}
        self._seen = {series: seen for series, seen in self._seen.items() if now - seen[1] <= MEMORY_S}
        sums: defaultdict[str, float] = defaultdict(float)
        replicas: defaultdict[str, float] = defaultdict(float)
        targets: defaultdict[str, float] = defaultdict(float)
        for (name, labels), (value, _) in self._seen.items():
            if name == HEALTHY:
                replicas[dict(labels)["deployment"]] += value
            elif name == TARGET:
                targets[dict(labels)["deployment"]] = value
            else:
                sums[name] += value
        return Snapshot(
            replicas={name: round(count) for name, count in sorted(replicas.items())},
            targets={name: round(count) for name, count in sorted(targets.items())},
            pending_images=sums[PENDING],
            active_slots=sums[f"{SAMPLER}active_slots"],
            batch_slots=sums[f"{SAMPLER}batch_slots"],
            waiting_images=sums[f"{SAMPLER}waiting_images"],
            codes_drawn=sums[f"{SAMPLER}codes_total"],
        )


def targets(discovery_file: Path = DISCOVERY_FILE) -> list[str]:
    """The addresses to ask, host:port."""
    return [target for group in json.loads(discovery_file.read_text()) for target in group["targets"]]


def _series(text: str) -> Iterator[tuple[Series, float]]:
    # Only these lines: Ray exports thousands, and reading them all each second would take the service's cores.
    lines = [line for line in text.splitlines() if line.startswith((HEALTHY, TARGET, PENDING, SAMPLER))]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            yield (sample.name, tuple(sorted(sample.labels.items()))), sample.value


def _read(address: str) -> str:
    try:
        return fetch(f"http://{address}/metrics", TIMEOUT_S).decode()
    except OSError:
        return ""
