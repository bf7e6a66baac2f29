"""Drives a service with a load that rises and falls, and draws how its stages follow.

    python -m loadtest.autoscale --start cluster/scaling.yaml --shape step --peak 2 --time 120 --ways json

One picture over time: requests sent and images received, images that wait, replicas of each stage, latency. With
`--batch` there is work besides for which nobody waits, and the picture shows where it is drawn.
Speaks HTTP only: to the service, and to the metrics that its cluster exports.
"""

import argparse
import contextlib
import csv
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.env import Environment

from loadtest import metrics
from loadtest.bulk import Bulk
from loadtest.local import running
from loadtest.locustfile import DEFAULT_WAYS, FIRST_PREVIEW, PROMPTS_FILE, REFUSED, WAYS, Arrivals, Drawer, read_prompts
from loadtest.shapes import SHAPES, Shape

FAILED = "failed"
PERIOD_S = 1.0
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # not 15, with which this program would starve the service
    "RAY_metrics_report_interval_ms": "2000",  # not 10 s, in which a picture of seconds would be steps
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


class Visitors(Arrivals):
    """Arrivals whose number follows a shape; `rate` is the peak."""

    shape: Shape = staticmethod(SHAPES["step"])
    began = 0.0
    seconds = 1.0
    arrived = 0

    def comes(self) -> bool:
        """Whether the next of those who would come at the peak comes now as well."""
        over = (time.monotonic() - Visitors.began) / Visitors.seconds
        comes = random.random() < Visitors.shape(min(over, 1.0))
        Visitors.arrived += comes
        return comes


class Diary:
    """What was seen, a row a second; and every answer with its latency.

    Args:
      bulk: batch work that is drawn besides.
    """

    def __init__(self, bulk: Bulk | None = None) -> None:
        self.bulk = bulk
        self.began = time.monotonic()
        self.rows: list[dict[str, Any]] = []
        self.answers: list[tuple[float, float, str]] = []
        events.request.add_listener(self._answered)

    @property
    def answered(self) -> int:
        """Requests that got their images."""
        return sum(kind not in (FIRST_PREVIEW, REFUSED, FAILED) for _, _, kind in self.answers)

    @property
    def failed(self) -> int:
        """Requests that got an error; a refusal is none."""
        return sum(kind == FAILED for _, _, kind in self.answers)

    def write_row(self, snapshot: metrics.Snapshot) -> None:
        """Adds what is so now."""
        row: dict[str, Any] = {"seconds": round(time.monotonic() - self.began, 1), "arrived": Visitors.arrived}
        row |= {"answered": self.answered, "pending": snapshot.pending_images}
        row |= {"active": snapshot.active_slots, "waiting": snapshot.waiting_images, "codes": snapshot.codes_drawn}
        row |= {
            "batch active": snapshot.batch_slots,
            "batch answered": 0 if self.bulk is None else self.bulk.answered(),
        }
        row |= {f"replicas {name}": count for name, count in snapshot.replicas.items()}
        self.rows.append(row | {f"wanted {name}": count for name, count in snapshot.targets.items()})

    def _answered(self, name: str, response_time: float, exception: object, **_: Any) -> None:
        kind = FAILED if exception else name
        self.answers.append((time.monotonic() - self.began, response_time / 1000, kind))


def main() -> int:
    """Runs one shape; gives 1 where a request failed."""
    asked = _options()
    asked.out.mkdir(parents=True, exist_ok=True)
    with _service(asked) as url:
        diary = run(url, asked)
    _write_table(diary, asked.out / f"autoscale-{asked.shape}.csv")
    from loadtest.autoscale_plot import draw

    draw(diary.rows, diary.answers, asked.out / f"autoscale-{asked.shape}.png", f"{asked.shape}, peak {asked.peak:g}/s")
    print(f"{Visitors.arrived} arrived, {diary.answered} got images, {diary.failed} failed; pictures in {asked.out}")
    return 1 if diary.failed else 0


def run(url: str, asked: argparse.Namespace) -> Diary:
    """Sends the load, and writes down what happens until some time after its end."""
    Drawer.prompts = read_prompts(asked.prompts)
    Visitors.shape = staticmethod(SHAPES[asked.shape])
    environment = Environment(user_classes=[Visitors], events=events, host=url, parsed_options=asked)
    runner = environment.create_local_runner()
    bulk = Bulk(url, Drawer.prompts, asked.batch) if asked.batch else None
    diary, watcher = Diary(bulk), metrics.Watcher()
    Visitors.began, Visitors.seconds = diary.began, asked.time
    runner.start(1, spawn_rate=1)
    while time.monotonic() < diary.began + asked.time + asked.after:
        with contextlib.suppress(OSError, ValueError):  # no such file yet
            diary.write_row(watcher.look(metrics.targets(asked.discovery)))
        gevent.sleep(PERIOD_S)
    runner.quit()
    if bulk:
        bulk.cancel()
    return diary


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8123", help="of the service")
    parser.add_argument("--start", type=Path, help="Serve file of a service to start there first; else one runs")
    parser.add_argument("--shape", choices=list(SHAPES), default="step")
    parser.add_argument("--peak", type=float, default=2.0, help="requests a second")
    parser.add_argument("--time", type=float, default=120.0, help="seconds of load")
    parser.add_argument("--after", type=float, default=60.0, help="seconds to go on watching")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=DEFAULT_WAYS, help="how images are asked for")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--best-of", type=int, default=4)
    parser.add_argument("--batch", type=int, default=0, help="requests of a batch that is drawn besides")
    parser.add_argument("--keep", type=float, default=0.9, help="share of a picture that variation leaves as it is")
    parser.add_argument("--discovery", type=Path, default=metrics.DISCOVERY_FILE, help="file of the nodes to ask")
    parser.add_argument("--out", type=Path, default=Path("out/loadtest"))
    parser.add_argument("--prompts", default=str(PROMPTS_FILE), help="file of prompts, one a line")
    parser.set_defaults(models=[], previews=3)
    asked = parser.parse_args()
    asked.rate = asked.peak  # as the users call it
    return asked


@contextlib.contextmanager
def _service(asked: argparse.Namespace) -> Iterator[str]:
    """The service, started where that was asked for; at the end what was started is stopped."""
    if asked.start is None:
        yield asked.url
        return
    command = Path(sys.executable).with_name("serve")
    cache = {"JAX_COMPILATION_CACHE_DIR": str(asked.out.resolve() / "jax")}
    started = subprocess.Popen([command, "run", str(asked.start)], env=ENVIRONMENT | cache | os.environ)
    with running(started, asked.url):
        yield asked.url


def _write_table(diary: Diary, path: Path) -> None:
    names = list(dict.fromkeys(name for row in diary.rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval=0)
        writer.writeheader()
        writer.writerows(diary.rows)


if __name__ == "__main__":
    sys.exit(main())
