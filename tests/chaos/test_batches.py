"""Batches while what draws them, what keeps them, or all of it is killed: nothing is lost, and nothing comes twice."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import openai
import pytest

from deployments.config import AppConfig
from deployments.host import free_port
from deployments.local import START_TIMEOUT_S, LocalService
from tests.chaos.clients import GENERATIONS, NO_STORE, PATIENCE_S, SEEDS, Sketchbook, fields_of
from tests.chaos.conftest import MODEL
from tests.chaos.test_kills import KILLS, living
from tests.postgres import Server, postgres
from tests.serve.conftest import kill
from tests.serve.processes import alive, descendants

LINES = 48
SERVICE = """
import json, sys, threading
from deployments.config import AppConfig
from deployments.local import LocalService
from deployments.stopping import stoppable

with stoppable(), LocalService(AppConfig.model_validate_json(sys.argv[1]), port=int(sys.argv[2])):
    print("Ready", flush=True)
    threading.Event().wait()
"""


def client_of(url: str) -> openai.OpenAI:
    """A client that asks again while nobody answers, as OpenAI's does by itself, for longer than that."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=20, timeout=PATIENCE_S)


def begin(client: openai.OpenAI, count: int = LINES) -> str:
    """A batch of so many lines, one for each of the seeds, again and again."""
    lines = [
        {"custom_id": f"line-{number}", "method": "POST", "url": GENERATIONS}
        | {"body": fields_of(SEEDS[number % len(SEEDS)])}
        for number in range(count)
    ]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    file = client.files.create(file=("lines.jsonl", data), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=GENERATIONS, completion_window="24h").id  # type: ignore[arg-type]  it is a text


def until(client: openai.OpenAI, batch_id: str, happened: Callable[[Any], bool]) -> Any:
    """The batch, once something has happened to it."""
    deadline = time.monotonic() + 2 * PATIENCE_S
    while not happened(batch := client.batches.retrieve(batch_id)):
        assert time.monotonic() < deadline, batch
        time.sleep(0.1)  # between looks
    return batch


def on_cores(pid: int, cores: set[int]) -> None:
    """Where all threads of a process may run from now on; what they start comes to be there too."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def drawn(count: int) -> Callable[[Any], bool]:
    return lambda batch: batch.request_counts is not None and batch.request_counts.completed >= count


def pictures(client: openai.OpenAI, batch_id: str) -> list[str]:
    """One of each line, in order; there is one answer for each, and no error."""
    batch = until(client, batch_id, lambda batch: batch.status not in ("validating", "in_progress"))
    assert batch.status == "completed" and batch.error_file_id is None, batch
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == [f"line-{number}" for number in range(LINES)]
    return [answer["response"]["body"]["data"][0]["b64_json"] for answer in answers]


def test_a_gateway_that_dies_loses_nothing_of_a_batch(
    service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]
):
    with client_of(service.url) as client:
        began = time.monotonic()
        batch = begin(client)
        for count in range(KILLS):
            until(client, batch, drawn(4 + LINES // 4 * count))
            kill(living("gateway"))
        found = pictures(client, batch)
    assert found == [sketchbook[SEEDS[number % len(SEEDS)]] for number in range(LINES)]
    note(killed="gateway", kills=KILLS, lines=LINES, seconds=round(time.monotonic() - began, 1))


def test_requests_beside_a_batch(service: LocalService, note: Callable[..., None]):
    """Latencies of single requests, in turns: nothing else, beside a batch, nothing else again.

    With CHAOS_APART=1 the sampler has a core of its own, as a device of its own would be.
    """
    count = int(os.environ.get("CHAOS_REQUESTS", "10"))
    is_apart = os.environ.get("CHAOS_APART") == "1"
    if is_apart:
        sampler = living("token_sampler")
        for pid in descendants(os.getpid()):
            on_cores(pid, {0} if pid == sampler else set(range(1, os.cpu_count() or 1)))

    def latencies(http: httpx.Client) -> list[float]:
        found = []
        for number in range(count):
            began = time.monotonic()
            http.post(GENERATIONS, json=fields_of(SEEDS[number % len(SEEDS)])).raise_for_status()
            found.append(time.monotonic() - began)
        return found

    with (
        client_of(service.url) as client,
        httpx.Client(base_url=service.url, timeout=PATIENCE_S, headers=NO_STORE) as http,
    ):
        latencies(http)
        idle = latencies(http)
        batch = begin(client, 30 * count)  # so many that it is not done before the requests are
        until(client, batch, drawn(1))
        beside = latencies(http)
        was_full = client.batches.retrieve(batch).status == "in_progress"
        client.batches.cancel(batch)
        until(client, batch, lambda batch: batch.status == "cancelled")
        idle += latencies(http)
    note(
        model=MODEL or "tiny",
        sampler_apart=is_apart,
        idle_median_s=round(median(idle), 3),
        idle_p95_s=round(quantiles(idle, n=20)[-1], 3),
        beside_median_s=round(median(beside), 3),
        beside_p95_s=round(quantiles(beside, n=20)[-1], 3),
        batch_was_under_way=was_full,
    )


@pytest.fixture
def store() -> Iterator[Server]:
    with postgres() as server:
        yield server


class Whole:
    """A service in processes of its own, all of which can be killed."""

    def __init__(self, config: AppConfig, log: Path):
        self.port = free_port()
        self._log = log
        command = [sys.executable, "-c", SERVICE, config.model_dump_json(), str(self.port)]
        with log.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, process_group=0)
        deadline = time.monotonic() + START_TIMEOUT_S
        while "Ready" not in log.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        self.started = descendants(self.process.pid) | {self.process.pid: "the service"}

    def kill_one(self, deployment: str) -> None:
        """One of its replicas, once there is one: the last killed may not be back."""
        deadline = time.monotonic() + PATIENCE_S
        while not (pids := [pid for pid, args in descendants(self.process.pid).items() if _is_of(args, deployment)]):
            assert time.monotonic() < deadline, f"{deployment} is not back"
            time.sleep(0.2)  # between looks
        kill(pids[0])

    def kill(self) -> None:
        self.started |= descendants(self.process.pid)
        for pid in alive(self.started):
            os.kill(pid, 9)
        self.process.wait()


def _is_of(command: str, deployment: str) -> bool:
    return command.startswith("ray::") and deployment in command


def test_gateways_and_what_they_share_die_in_the_middle_of_a_batch(
    own_home: None, config: AppConfig, store: Server, tmp_path: Path, note: Callable[..., None]
):
    """Each line is answered once, with the picture of its seed."""
    gateway = config.gateway.model_copy(update={"min_replicas": 2, "max_replicas": 2})
    kept = config.batches.model_copy(update={"database": store.url})
    began = time.monotonic()
    whole = Whole(config.model_copy(update={"gateway": gateway, "batches": kept}), tmp_path / "service")
    try:
        with client_of(f"http://127.0.0.1:{whole.port}") as client:
            batch = begin(client)
            for share, deployments in ((0.1, ["commons"]), (0.3, ["gateway"]), (0.6, ["commons", "gateway"])):
                until(client, batch, drawn(int(share * LINES)))
                for deployment in deployments:
                    whole.kill_one(deployment)
            found = pictures(client, batch)
            counts = client.batches.retrieve(batch).request_counts
    finally:
        whole.kill()
    assert counts is not None and (counts.completed, counts.failed, counts.total) == (LINES, 0, LINES)
    by_seed = {SEEDS[number % len(SEEDS)]: picture for number, picture in enumerate(found)}
    assert found == [by_seed[SEEDS[number % len(SEEDS)]] for number in range(LINES)]
    assert len(set(found)) == len(SEEDS)
    note(killed="commons, a gateway, then both", lines=LINES, seconds=round(time.monotonic() - began, 1))


def test_a_batch_outlives_its_database_and_a_restart_of_everything(
    own_home: None, config: AppConfig, store: Server, tmp_path: Path, note: Callable[..., None]
):
    kept = config.batches.model_copy(update={"database": store.url})
    config = config.model_copy(update={"batches": kept})
    began = time.monotonic()
    first = Whole(config, tmp_path / "first")
    try:
        with client_of(f"http://127.0.0.1:{first.port}") as client:
            batch = begin(client)
            until(client, batch, drawn(4))
            store.kill()
            time.sleep(3)  # in which answers cannot be kept
            store.start()
            until(client, batch, drawn(LINES // 3))
    finally:
        first.kill()
    second = Whole(config, tmp_path / "second")
    try:
        with client_of(f"http://127.0.0.1:{second.port}") as client:
            found = pictures(client, batch)
    finally:
        second.kill()
    by_seed = {SEEDS[number % len(SEEDS)]: picture for number, picture in enumerate(found)}
    assert found == [by_seed[SEEDS[number % len(SEEDS)]] for number in range(LINES)]
    assert len(set(found)) == len(SEEDS)
    note(killed="database, then everything", lines=LINES, seconds=round(time.monotonic() - began, 1))
