"""Asks the service for images as many users would, and says how long they wait and how many images a second they get.

    locust --headless -f loadtest/locustfile.py --host http://127.0.0.1:8000 --users 4 --run-time 60s
    locust --headless -f loadtest/locustfile.py --host http://127.0.0.1:8000 --rate 2 --run-time 60s

Each of the `--users` asks again once answered (a closed loop); with `--rate` each of them sends so many requests a
second at random moments, whatever has become of the earlier ones (an open loop). Naming classes (JsonUser, StreamUser,
BestOfUser) keeps to those. Speaks HTTP only. A refusal (429) is not a failure: a user waits as long as it says.
"""

import json
import random
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, cast

from gevent.pool import Pool
from locust import HttpUser, events, task
from locust.env import Environment
from locust.runners import WorkerRunner
from locust.stats import RequestStats, StatsEntry
from requests import RequestException
from urllib3 import PoolManager

from loadtest import thresholds
from loadtest.counts import counts

GENERATIONS = "/v1/images/generations"
PROMPTS_FILE = Path(__file__).with_name("prompts.txt")
COMPLETED = "image_generation.completed"
FIRST_PREVIEW = "first preview"
REFUSED = "refused"
TIMEOUT_S = (10, 600)  # to connect, and between two pieces of an answer
MAX_UNDER_WAY = 2000  # of an open loop; beyond it arrivals are dropped, and counted as failed


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """Adds to locust's options what is asked for, how often, and what must be kept."""
    parser.add_argument("--images", type=int, default=1, help="Images in a reply (n)")
    parser.add_argument("--best-of", type=int, default=8, help="Images that a BestOfUser has drawn for it")
    parser.add_argument("--previews", type=int, default=3, help="Previews that a StreamUser asks for")
    parser.add_argument("--models", nargs="*", default=[], help="Ids to choose from at random; else the default model")
    parser.add_argument("--prompts", type=Path, default=PROMPTS_FILE, help="File of prompts, one a line")
    parser.add_argument(
        "--rate", type=float, default=None, help="Requests that each user sends a second, in an open loop"
    )
    thresholds.add_options(parser)


@events.init.add_listener
def choose_loop(environment: Environment, **_: Any) -> None:
    """Keeps the users of the loop that was asked for."""
    options = cast(Any, environment.parsed_options)
    is_open = options.rate is not None
    environment.user_classes[:] = [Arrivals] if is_open else [c for c in environment.user_classes if c is not Arrivals]
    Drawer.prompts = [line.strip() for line in options.prompts.read_text().splitlines() if line.strip()]


@events.test_start.add_listener
def start_counting(environment: Environment, **_: Any) -> None:
    """Counts from the first user on."""
    counts.clear()


class Drawer(HttpUser):
    """Knows how to ask in each of the ways."""

    abstract = True
    host = "http://127.0.0.1:8000"
    prompts: list[str] = []  # noqa: RUF012 - set once, before the first user

    def draw(self) -> float:
        """Asks for images in one reply; gives the seconds to wait before the next time."""
        return self._ask("json", {"n": self._options.images})

    def draw_best(self) -> float:
        """Asks for the best of several images; gives the seconds to wait before the next time."""
        return self._ask("best_of", {"n": 1, "best_of": self._options.best_of})

    def watch(self) -> float:
        """Asks for one image with previews; gives the seconds to wait before the next time."""
        return self._ask("stream", {"n": 1, "stream": True, "partial_images": self._options.previews})

    def _ask(self, name: str, fields: dict[str, Any]) -> float:
        began = time.perf_counter()
        streams = "stream" in fields
        fields = {"prompt": random.choice(self.prompts)} | fields
        if self._options.models:
            fields["model"] = random.choice(self._options.models)
        with self.client.post(
            GENERATIONS, name=name, json=fields, stream=streams, catch_response=True, timeout=TIMEOUT_S
        ) as response:
            counts.statuses[response.status_code] += 1
            meta: dict[str, Any] = cast(dict, response.request_meta)
            if response.status_code == 429:
                meta["name"] = REFUSED  # not among the latencies of what was drawn
                response.success()
                return float(response.headers.get("retry-after", 1))
            if response.ok and streams:
                self._watch_events(response, began)
                meta["response_time"] = _milliseconds_since(began)
            elif response.ok:
                counts.images += len(response.json()["data"])
        return 0.0

    @property
    def _options(self) -> Any:
        return self.environment.parsed_options

    def _watch_events(self, response: Any, began: float) -> None:
        last = "nothing"
        try:
            for line in response.iter_lines(chunk_size=65536):  # each of the service's pieces at once
                if not line.startswith(b"data: {"):
                    continue
                before, last = last, json.loads(line.removeprefix(b"data: ")).get("type", "error")
                if last == COMPLETED:
                    counts.images += 1
                elif before == "nothing":
                    self._note_preview(_milliseconds_since(began))
        except RequestException as error:
            last = f"{last}, then {error}"
        if last != COMPLETED:
            response.failure(f"the stream ended with {last}")

    def _note_preview(self, milliseconds: float) -> None:
        """The first preview stands in the statistics as if it were a request."""
        self.environment.events.request.fire(
            request_type="SSE",
            name=FIRST_PREVIEW,
            response_time=milliseconds,
            response_length=0,
            exception=None,
            context={},
        )


class JsonUser(Drawer):
    """Asks for images, and waits for them all."""

    weight = 6

    @task
    def ask(self) -> None:
        """Asks once, and waits where the service says so."""
        time.sleep(self.draw())


class StreamUser(Drawer):
    """Asks for an image and watches it being drawn."""

    weight = 3

    @task
    def ask(self) -> None:
        """Asks once, and waits where the service says so."""
        time.sleep(self.watch())


class BestOfUser(Drawer):
    """Has several images drawn for the best of them."""

    weight = 1

    @task
    def ask(self) -> None:
        """Asks once, and waits where the service says so."""
        time.sleep(self.draw_best())


WEIGHTS = {Drawer.draw: JsonUser.weight, Drawer.watch: StreamUser.weight, Drawer.draw_best: BestOfUser.weight}


class Arrivals(Drawer):
    """Many who ask once each, at random moments, and leave where they are refused."""

    pool_manager = PoolManager(maxsize=MAX_UNDER_WAY, block=False)

    def on_start(self) -> None:
        """Nobody is there yet."""
        self._under_way = Pool(MAX_UNDER_WAY)

    @task
    def arrive(self) -> None:
        """Waits for the next one, who then is on his own."""
        time.sleep(random.expovariate(self._options.rate))
        if not self.comes():
            return
        (way,) = random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if self._under_way.full():
            self.environment.events.request.fire(
                request_type="POST",
                name="dropped",
                response_time=0,
                response_length=0,
                exception=RuntimeError(f"{MAX_UNDER_WAY} requests are under way"),
                context={},
            )
        else:
            self._under_way.spawn(way, self)

    def comes(self) -> bool:
        """Whether the next one comes at all; always, unless a subclass says otherwise."""
        return True

    def on_stop(self) -> None:
        """Gives up what is under way."""
        self._under_way.kill()


@events.quitting.add_listener
def report(environment: Environment, **_: Any) -> None:
    """Prints the result in a few lines, and sets the exit status."""
    if isinstance(environment.runner, WorkerRunner):
        return
    result = _result(environment.stats)
    print(f"images    {result.images} in {result.seconds:.0f} s: {result.images_per_second:.2f} images/s")
    if result.median_s is not None:
        print(
            f"latency   median {result.median_s:.2f} s, 95th percentile {result.p95_s:.2f} s, 99th {result.p99_s:.2f} s"
        )
    if result.first_preview_p95_s is not None:
        print(f"preview   95th percentile of the first {result.first_preview_p95_s:.2f} s")
    statuses = ", ".join(f"{status or 'none'}: {count}" for status, count in sorted(counts.statuses.items()))
    print(f"requests  {result.requests}, of them {result.refusals} refused, {result.failures} failed ({statuses})")
    lines = thresholds.broken(result, environment.parsed_options)
    for line in lines:
        print(f"BROKEN    {line}")
    if lines:
        environment.process_exit_code = 1


def _result(stats: RequestStats) -> thresholds.Result:
    drawn = StatsEntry(stats, "drawn", "POST")
    for (name, method), entry in stats.entries.items():
        if method == "POST" and name != REFUSED:
            drawn.extend(entry)
    previews = stats.get(FIRST_PREVIEW, "SSE")
    return thresholds.Result(
        seconds=(stats.last_request_timestamp or stats.start_time) - stats.start_time,
        images=counts.images,
        requests=sum(counts.statuses.values()),
        refusals=counts.refusals,
        failures=stats.total.num_failures,
        median_s=_percentile(drawn, 0.5),
        p95_s=_percentile(drawn, 0.95),
        p99_s=_percentile(drawn, 0.99),
        first_preview_p95_s=_percentile(previews, 0.95),
    )


def _percentile(entry: StatsEntry, share: float) -> float | None:
    return entry.get_response_time_percentile(share) / 1000 if entry.num_requests else None


def _milliseconds_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
