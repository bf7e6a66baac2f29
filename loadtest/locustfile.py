"""Asks the service for images as many users would, and says how long they wait and how many images a second they get.

    locust --headless -f loadtest/locustfile.py --host http://127.0.0.1:8000 --users 4 --run-time 60s

Speaks HTTP only. A refusal (429) is not a failure: the user waits as long as it says. Any other error is one, and a run
with errors, or without a single image, exits with status 1.
"""

import random
import time
from argparse import ArgumentParser
from typing import Any, cast

from locust import HttpUser, events, task
from locust.env import Environment

PROMPTS = (
    "an avocado",
    "a red apple",
    "an octopus",
    "a rocket",
    "a slice of pizza",
    "a green heart",
    "a cat with a party hat",
    "the moon over the sea",
)
GENERATIONS = "/v1/images/generations"


class Counts:
    """What the run has seen so far."""

    def __init__(self) -> None:
        self.images = 0
        self.refusals = 0
        self.started_at = time.monotonic()


counts = Counts()


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """Adds to locust's options what each user asks for."""
    parser.add_argument("--images", type=int, default=1, help="Images in a request (n)")
    parser.add_argument("--best-of", type=int, default=None, help="Images drawn for them; as many if not given")


@events.test_start.add_listener
def start_counting(environment: Environment, **_: Any) -> None:
    """Starts the clock with the first user."""
    global counts
    counts = Counts()


class Painter(HttpUser):
    """Asks for pictures one after another."""

    host = "http://127.0.0.1:8000"

    @task
    def draw(self) -> None:
        """Asks once, and waits where the service says so."""
        options = self.environment.parsed_options
        fields: dict[str, Any] = {"prompt": random.choice(PROMPTS), "n": options.images}
        if options.best_of is not None:
            fields["best_of"] = options.best_of
        with self.client.post(GENERATIONS, json=fields, catch_response=True) as response:
            if response.status_code == 429:
                counts.refusals += 1
                cast(dict, response.request_meta)["name"] = "refused"  # not among the latencies of what was drawn
                response.success()
                time.sleep(float(response.headers.get("retry-after", 1)))
            elif response.ok:
                counts.images += len(response.json()["data"])


@events.quitting.add_listener
def report(environment: Environment, **_: Any) -> None:
    """Prints the result in three lines and sets the exit status."""
    total, drawn = environment.stats.total, environment.stats.get(GENERATIONS, "POST")
    seconds = time.monotonic() - counts.started_at
    print(f"images    {counts.images} in {seconds:.0f} s: {counts.images / seconds:.2f} images/s")
    if drawn.num_requests:
        p50, p95 = (drawn.get_response_time_percentile(share) / 1000 for share in (0.5, 0.95))
        print(
            f"latency   median {p50:.2f} s, 95th percentile {p95:.2f} s, longest {drawn.max_response_time / 1000:.2f} s"
        )
    print(f"requests  {total.num_requests}, of them {counts.refusals} refused (429), {total.num_failures} failed")
    if total.num_failures or not counts.images:
        environment.process_exit_code = 1
