"""What the control plane costs: load on a service whose stages compute nothing, and CPU time by process.

    python -m loadtest.fleet --out out/fleet

Measures ways of asking with one gateway, then more gateways, then samplers that take as long as real ones, each in a
service of its own (`tests/fleet/recorded.py`). The table and `fleet.json` give CPU milliseconds for each image drawn:
what a busy machine stretches is time, hardly CPU time. `loadtest/fleet_simulation.py` goes on from there.
"""

import argparse
import contextlib
import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from loadtest.http import connection
from loadtest.local import free_port, running

PATH = "/v1/images/generations"
HEADERS = {"content-type": "application/json", "cache-control": "no-store"}
TIMEOUT_S = 120.0
WARM_UP_S = 3.0
CLIENT, REST = "client", "rest"
# What a process's title holds → what it is called here; the first that fits counts.
HOPS = {
    "ProxyActor": "proxy",
    ":gateway": "gateway",
    "text_encoder": "text_encoder",
    "token_sampler": "token_sampler",
    "image_decoder": "image_decoder",
    "clip_scorer": "clip_scorer",
    "raylet": "raylet",
}
COLUMNS = [*HOPS.values(), REST, CLIENT]


@dataclass(frozen=True, kw_only=True)
class Way:
    """How images are asked for.

    Attributes:
      drawn: images for each request.
      clients: that ask one after another.
    """

    name: str
    fields: dict[str, Any]
    drawn: int
    clients: int


STREAMED = {"stream": True, "stream_multiple": True, "partial_images": 2}
WAYS = [
    Way(name="n=1", fields={"n": 1}, drawn=1, clients=8),
    Way(name="n=9", fields={"n": 9}, drawn=9, clients=4),
    Way(name="best_of=64", fields={"n": 9, "best_of": 64}, drawn=64, clients=2),
    Way(name="n=1, streamed", fields={"n": 1, "stream": True, "partial_images": 2}, drawn=1, clients=8),
    Way(name="n=9, streamed", fields={"n": 9} | STREAMED, drawn=9, clients=4),
]
NINE = WAYS[1]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A service: so many replicas, and how long an image stays in one of a sampler's slots."""

    gateways: int = 1
    samplers: int = 1
    slots: int = 256
    seconds_an_image: float = 0.0
    images_in_flight: int = 10
    images_per_call: int = 5

    def options(self) -> list[str]:
        """Those of the program that serves it."""
        return [word for name, value in asdict(self).items() for word in (f"--{name.replace('_', '-')}", str(value))]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one way brought in one setup.

    Attributes:
      cpu_ms: CPU milliseconds an image, by hop.
    """

    setup: Setup
    way: str
    drawn: int
    clients: int
    images_per_second: float
    cpu_ms: dict[str, float] = field(default_factory=dict)

    @property
    def images_per_gateway_core(self) -> float:
        """Images a second that one core spent on gateways would take."""
        return 1000 / self.cpu_ms["gateway"]


class Clients:
    """So many clients that ask the same again and again, from entering to leaving the block."""

    def __init__(self, port: int, way: Way):
        self._port, self._body = port, json.dumps({"prompt": "an avocado", "response_format": "b64_json"} | way.fields)
        self._stopping = threading.Event()
        self._errors: list[str] = []
        self._answered, self._lock = 0, threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(way.clients)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    @property
    def answered(self) -> int:
        """Requests so far; ends the program where one was not answered well."""
        if self._errors:
            raise SystemExit(f"A request failed: {self._errors[0]}")
        return self._answered

    def _ask(self) -> None:
        service = connection(self._port, TIMEOUT_S)
        try:
            while not self._stopping.is_set():
                service.request("POST", PATH, self._body, HEADERS)
                reply = service.getresponse()
                content = reply.read()
                if reply.status != 200 or b'"error"' in content[-300:]:
                    raise OSError(f"{reply.status}: {content[-300:]!r}")
                with self._lock:
                    self._answered += 1
        except (OSError, http.client.HTTPException) as error:
            self._errors.append(repr(error))
        finally:
            service.close()


def cpu_seconds(root: int) -> dict[str, float]:
    """CPU seconds so far, by hop, of a service's processes and of this one."""
    found = dict.fromkeys(COLUMNS, 0.0) | {CLIENT: time.process_time()}
    for process in psutil.Process(root).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[hop_of(" ".join(process.cmdline()))] += times.user + times.system
    return found


def hop_of(title: str) -> str:
    """What a process is called here, by its command line."""
    if not title.startswith("ray::"):
        return "raylet" if re.search(r"/raylet\b", title.split(" ")[0]) else REST
    return next((hop for words, hop in HOPS.items() if words in title), REST)


def idle_rates(root: int, seconds: float) -> dict[str, float]:
    """CPU seconds a second, by hop, that a service takes while nobody asks: its health checks and metrics."""
    before, began = cpu_seconds(root), time.monotonic()
    time.sleep(seconds)  # the window that is measured
    after, elapsed = cpu_seconds(root), time.monotonic() - began
    return {hop: (after[hop] - before[hop]) / elapsed for hop in COLUMNS}


def measure(
    setup: Setup, way: Way, port: int, root: int, seconds: float, idle: dict[str, float] | None = None
) -> Measurement:
    """Asks for so many seconds, when all is warm; what an idle service takes as well is taken off."""
    idle = idle or dict.fromkeys(COLUMNS, 0.0)
    with Clients(port, way) as clients:
        time.sleep(WARM_UP_S)  # connections and caches of all processes
        while not clients.answered:
            time.sleep(0.1)  # between looks
        before, cpu, began = clients.answered, cpu_seconds(root), time.monotonic()
        time.sleep(seconds)  # the window that is measured
        images = way.drawn * (clients.answered - before)
        after, elapsed = cpu_seconds(root), time.monotonic() - began
    return Measurement(
        setup=setup,
        way=way.name,
        drawn=way.drawn,
        clients=way.clients,
        images_per_second=images / elapsed,
        cpu_ms={hop: 1000 * max(after[hop] - cpu[hop] - idle[hop] * elapsed, 0.0) / max(images, 1) for hop in COLUMNS},
    )


@contextlib.contextmanager
def service(setup: Setup, recording: Path) -> Iterator[tuple[int, int]]:
    """The service of a setup: its port, and its first process."""
    port = free_port()
    command = [sys.executable, "-m", "tests.fleet.recorded", "--port", str(port), "--recording", str(recording)]
    process = subprocess.Popen([*command, *setup.options()])
    with running(process, f"http://127.0.0.1:{port}"):
        yield port, process.pid


def plan(seconds_an_image: float) -> list[tuple[Setup, list[Way]]]:
    """What is measured: ways of asking, gateways, and samplers that take their time."""
    found: list[tuple[Setup, list[Way]]] = [(Setup(), WAYS)]
    found += [(Setup(gateways=gateways), [NINE]) for gateways in (2, 4)]
    for samplers in (1, 4):
        slots = 8
        enough = -(-3 * samplers * slots // 9)  # clients, so that slots never wait for them
        way = Way(name="n=9", fields=NINE.fields, drawn=9, clients=max(enough, 2))
        found.append((Setup(samplers=samplers, slots=slots, seconds_an_image=seconds_an_image), [way]))
    return found


def table(measurements: list[Measurement]) -> str:
    """As Markdown."""
    head = ["asked", "a call", "gateways", "samplers", "images/s", *COLUMNS, "images/s a gateway core"]
    lines = [head, ["---"] * len(head)]
    for one in measurements:
        replicas = [str(one.setup.images_per_call), str(one.setup.gateways), str(one.setup.samplers)]
        costs = [f"{one.cpu_ms[hop]:.2f}" for hop in COLUMNS]
        rates = f"{one.images_per_second:.1f}", f"{one.images_per_gateway_core:.0f}"
        lines.append([one.way, *replicas, rates[0], *costs, rates[1]])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def load(path: Path) -> list[Measurement]:
    """Measurements of an earlier run."""
    rows = json.loads(path.read_text())
    return [Measurement(**row | {"setup": Setup(**row["setup"])}) for row in rows]


def main() -> None:
    """Measures everything, one service after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="of load, for each line of the table")
    parser.add_argument("--seconds-an-image", type=float, default=2.0, help="of samplers that take their time")
    parser.add_argument("--only", type=int, help="so many of the services, from the first on")
    parser.add_argument("--out", type=Path, default=Path("out/fleet"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    measured: list[Measurement] = []
    for setup, ways in plan(asked.seconds_an_image)[: asked.only]:
        with service(setup, asked.out / "recording.npz") as (port, root):
            measure(setup, ways[0], port, root, 1.0)  # so that all is imported and connected
            idle = idle_rates(root, asked.seconds)
            measured += [measure(setup, way, port, root, asked.seconds, idle) for way in ways]
        print(table(measured[-len(ways) :]), flush=True)
        (asked.out / "fleet.json").write_text(json.dumps([asdict(one) for one in measured], indent=2))
    print(table(measured))


if __name__ == "__main__":
    main()
