"""Asks the service for images as many users would, and says how long they wait and how many images a second they get.

    locust --headless -f loadtest/locustfile.py --host http://127.0.0.1:8000 --users 4 --run-time 60s
    locust --headless -f loadtest/locustfile.py --host http://127.0.0.1:8000 --rate 2 --run-time 60s --ways json

Each of the `--users` asks again once answered (a closed loop); with `--rate` each of them sends so many requests a
second at random moments, whatever has become of the earlier ones (an open loop). `--ways` says how they ask.
Nothing is kept of what is asked for (`Cache-Control: no-store`), but with `--trace zipf`, which measures just that.
Speaks HTTP only. A refusal (429) is not a failure: a user waits as long as it says.
"""

import base64
import json
import random
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from gevent.lock import BoundedSemaphore
from gevent.pool import Pool
from locust import HttpUser, events, task
from locust.env import Environment
from locust.runners import WorkerRunner
from locust.stats import RequestStats, StatsEntry
from requests import RequestException
from urllib3 import PoolManager

from loadtest import thresholds
from loadtest.counts import counts
from loadtest.traces import ZipfTrace

GENERATIONS = "/v1/images/generations"
VARIATIONS = "/v1/images/variations"
PROMPTS_FILE = Path(__file__).with_name("prompts.txt")
COMPLETED = "image_generation.completed"
CACHE_HEADER = "x-dalle-serve-cache"
NO_STORE = {"cache-control": "no-store"}
FIRST_PREVIEW = "first preview"
REFUSED = "refused"
TIMEOUT_S = (10, 600)  # to connect, and between two pieces of an answer
MAX_UNDER_WAY = 2000  # of an open loop; beyond it arrivals are dropped, and counted as failed


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """Adds to locust's options what is asked for, how often, and what must be kept."""
    parser.add_argument(
        "--ways", nargs="+", choices=[user.way for user in USERS], default=DEFAULT_WAYS, help="How images are asked for"
    )
    parser.add_argument("--images", type=int, default=1, help="Images in a reply (n)")
    parser.add_argument("--best-of", type=int, default=8, help="Images that best_of and variation have drawn for one")
    parser.add_argument("--previews", type=int, default=3, help="Previews that stream asks for")
    parser.add_argument("--keep", type=float, default=0.9, help="Share of a picture that variation leaves as it is")
    parser.add_argument("--models", nargs="*", default=[], help="Ids to choose from at random; else the default model")
    parser.add_argument("--prompts", default=str(PROMPTS_FILE), help="File of prompts, one a line")
    parser.add_argument(
        "--trace",
        choices=["zipf"],
        default="",
        help="Ask for the same images again, with seeds, the popular ones more often, and let the service keep them",
    )
    parser.add_argument("--trace-size", type=int, default=1000, help="Different requests of a trace")
    parser.add_argument("--trace-exponent", type=float, default=1.0, help="The r-th comes as 1 / r to this power")
    parser.add_argument("--trace-seed", type=int, default=0, help="Of a trace's order; a worker adds its number")
    parser.add_argument(
        "--rate", type=float, default=None, help="Requests that each user sends a second, in an open loop"
    )
    thresholds.add_options(parser)


@events.init.add_listener
def choose_users(environment: Environment, **_: Any) -> None:
    """Keeps the users that were asked for; a worker keeps them all, and is told which to start."""
    options = cast(Any, environment.parsed_options)
    Drawer.prompts = read_prompts(options.prompts)
    if options.trace == "zipf":
        seed = options.trace_seed + getattr(environment.runner, "worker_index", 0)
        Drawer.trace = ZipfTrace(Drawer.prompts, options.trace_size, options.trace_exponent, seed)
    if not isinstance(environment.runner, WorkerRunner):
        asking = [user for user in USERS if user.way in options.ways]
        environment.user_classes[:] = asking if options.rate is None else [Arrivals]


def read_prompts(file: str) -> list[str]:
    """The lines of a file that are not empty."""
    return [line.strip() for line in Path(file).read_text().splitlines() if line.strip()]


@events.test_start.add_listener
def start_counting(environment: Environment, **_: Any) -> None:
    """Counts from the first user on."""
    counts.clear()


class Drawer(HttpUser):
    """Knows how to ask in each of the ways."""

    abstract = True
    host = "http://127.0.0.1:8000"
    prompts: list[str] = []  # noqa: RUF012 - set once, before the first user
    trace: ZipfTrace | None = None
    drawing = BoundedSemaphore()
    picture = b""

    def draw(self) -> float:
        """Asks for images in one reply; gives the seconds to wait before the next time."""
        return self._generate("json", {"n": self._options.images})

    def draw_best(self) -> float:
        """Asks for the best of several images; gives the seconds to wait before the next time."""
        return self._generate("best_of", {"n": 1, "best_of": self._options.best_of})

    def watch(self) -> float:
        """Asks for one image with previews; gives the seconds to wait before the next time."""
        return self._generate("stream", {"n": 1, "stream": True, "partial_images": self._options.previews})

    def vary(self) -> float:
        """Asks for the best variation of a picture; gives the seconds to wait before the next time."""
        wait_s = self._draw_first_picture()
        if not Drawer.picture:
            return wait_s
        fields = {"n": 1, "best_of": self._options.best_of, "keep": self._options.keep}
        image = {"image": ("picture.png", Drawer.picture, "image/png")}
        return self._post("variation", VARIATIONS, data=fields, files=image)

    def _draw_first_picture(self) -> float:
        """Draws what is varied, where that is missing: one for all users of this process."""
        with Drawer.drawing:
            if Drawer.picture:
                return 0.0
            fields = {"prompt": self.prompts[0], "response_format": "b64_json"}
            return self._post("first picture", GENERATIONS, on_reply=_keep_picture, json=fields)

    def _generate(self, name: str, fields: dict[str, Any]) -> float:
        wish = self.trace.next() if self.trace else {"prompt": random.choice(self.prompts)}
        fields = wish | fields
        if self._options.models:
            fields["model"] = random.choice(self._options.models)
        return self._post(name, GENERATIONS, json=fields, stream="stream" in fields)

    def _post(
        self,
        name: str,
        path: str,
        *,
        stream: bool = False,
        on_reply: Callable[[dict[str, Any]], None] = lambda reply: None,
        **body: Any,
    ) -> float:
        began = time.perf_counter()
        headers = {} if self.trace else NO_STORE
        with self.client.post(
            path, name=name, stream=stream, catch_response=True, timeout=TIMEOUT_S, headers=headers, **body
        ) as response:
            counts.statuses[response.status_code] += 1
            if response.ok and (cache := response.headers.get(CACHE_HEADER)):
                counts.caches[cache] += 1
            meta: dict[str, Any] = cast(dict, response.request_meta)
            if response.status_code == 429:
                meta["name"] = REFUSED  # not among the latencies of what was drawn
                response.success()
                return float(response.headers.get("retry-after", 1))
            if response.ok and stream:
                self._watch_events(response, began)
                meta["response_time"] = _milliseconds_since(began)
            elif response.ok:
                reply = response.json()
                counts.images += len(reply["data"])
                on_reply(reply)
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
                    self._note("SSE", FIRST_PREVIEW, _milliseconds_since(began))
        except RequestException as error:
            last = f"{last}, then {error}"
        if last != COMPLETED:
            response.failure(f"the stream ended with {last}")

    def _note(self, kind: str, name: str, milliseconds: float = 0, exception: Exception | None = None) -> None:
        """Adds to the statistics what is no request of its own, as if it were one."""
        self.environment.events.request.fire(
            request_type=kind, name=name, response_time=milliseconds, response_length=0, exception=exception, context={}
        )


def _keep_picture(reply: dict[str, Any]) -> None:
    Drawer.picture = base64.b64decode(reply["data"][0]["b64_json"])


WAYS: dict[str, Callable[[Drawer], float]] = {
    "json": Drawer.draw,
    "stream": Drawer.watch,
    "best_of": Drawer.draw_best,
    "variation": Drawer.vary,
}


class Asker(Drawer):
    """Asks in one way, again and again."""

    abstract = True
    way = ""

    @task
    def ask(self) -> None:
        """Asks once, and waits where the service says so."""
        time.sleep(WAYS[self.way](self))  # as long as a refusal asked for, else not at all


class JsonUser(Asker):
    """Asks for images, and waits for them all."""

    way = "json"
    weight = 6


class StreamUser(Asker):
    """Asks for an image and watches it being drawn."""

    way = "stream"
    weight = 3


class BestOfUser(Asker):
    """Has several images drawn for the best of them."""

    way = "best_of"
    weight = 1


class VariationUser(Asker):
    """Has the end of a picture drawn anew, several times, for the best of them."""

    way = "variation"
    weight = 1


USERS: list[type[Asker]] = [JsonUser, StreamUser, BestOfUser, VariationUser]
DEFAULT_WAYS = ["json", "stream", "best_of"]


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
        asking = [user for user in USERS if user.way in self._options.ways]
        (kind,) = random.choices(asking, [user.weight for user in asking])
        if self._under_way.full():
            self._note("POST", "dropped", exception=RuntimeError(f"{MAX_UNDER_WAY} requests are under way"))
        else:
            self._under_way.spawn(WAYS[kind.way], self)

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
    if looked_up := sum(counts.caches.values()):
        shares = (f"{count / looked_up:.0%} {how}" for how, count in sorted(counts.caches.items()))
        print(f"cache     {', '.join(shares)} of {looked_up}")
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
