"""`kill -9` of each process while clients draw: nothing that was accepted is lost, and nothing is changed."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.local import LocalService
from tests.chaos.clients import PATIENCE_S, Load, Sketchbook
from tests.serve.conftest import kill
from tests.serve.processes import replica

KILLS = int(os.environ.get("CHAOS_KILLS", "2"))
STAGES = ("text_encoder", "token_sampler", "image_decoder", "clip_scorer")
ENDS = ("gateway", "ProxyActor")  # where a client's own connection ends


def living(process: str) -> int:
    """The process, once it is there: the service may go on before what was killed is back."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return replica(process)
        except ValueError:  # none, or the old one beside the new
            assert time.monotonic() < deadline, f"{process} is not back"
            time.sleep(0.2)  # between looks, until the deadline


@contextlib.contextmanager
def locust(url: str, statistics: Path) -> Iterator[None]:
    """The load test with its JSON and streaming users, who call whatever is not a picture or a refusal a failure."""
    command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--only-summary"]
    users = ["--host", url, "--users", "4", "--spawn-rate", "4", "--ways", "json", "stream"]
    end = ["--stop-timeout", f"{PATIENCE_S:.0f}", "--json-file", str(statistics.with_suffix(""))]  # it adds .json
    process = subprocess.Popen([*command, *users, *end])
    try:
        yield
        process.terminate()  # it lets the requests under way end
        assert process.wait(PATIENCE_S) == 0, "locust counted failures; they stand above"
    finally:
        process.kill()
        process.wait()


def disturb(service: LocalService, sketchbook: Sketchbook, process: str, kills: int = KILLS) -> dict[str, Any]:
    """Kills a process under load, again and again; says what the clients saw."""
    recoveries = []
    with Load(service.url) as load:
        load.wait_for_answers(4)
        for _ in range(kills):
            kill(living(process))
            killed = time.monotonic()
            recoveries.append(load.wait_for_answers(1, begun_after=killed) - killed)
            load.wait_for_answers(6, begun_after=killed)
    unlike = [answer.seed for answer in load.answers if answer.picture != sketchbook[answer.seed]]
    assert not unlike
    breaks = Counter(why for answer in load.answers for why in answer.breaks)
    return {
        "killed": process,
        "kills": kills,
        "requests": len(load.answers),
        "requests_broken": sum(bool(answer.breaks) for answer in load.answers),
        "broken": breaks,
        "longest_until_broken_s": round(max(answer.break_s for answer in load.answers), 2),
        "recovered_s": [round(seconds, 1) for seconds in recoveries],
        "longest_s": round(max(answer.seconds for answer in load.answers), 1),
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_dies_costs_time_and_nothing_else(
    stage: str, service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]
):
    seen = disturb(service, sketchbook, stage)
    note(**seen)
    assert not seen["broken"]


@pytest.mark.parametrize("end", ENDS)
def test_where_the_connections_end_dies_clients_hear_at_once_and_ask_again(
    end: str, service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]
):
    seen = disturb(service, sketchbook, end)
    note(**seen)
    assert seen["broken"]
    assert seen["longest_until_broken_s"] < max(seen["recovered_s"])  # not only once it works again


def test_without_its_controller_the_service_goes_on(
    service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]
):
    seen = disturb(service, sketchbook, "ServeController")
    note(**seen)
    assert not seen["broken"]


def test_locusts_users_count_no_failure_while_stages_and_controller_die(
    service: LocalService, sketchbook: Sketchbook, note: Callable[..., None], tmp_path: Path
):
    statistics = tmp_path / "locust.json"
    with locust(service.url, statistics):
        for process in (*STAGES, "ServeController"):
            seen = disturb(service, sketchbook, process, kills=1)
            assert not seen["broken"], process
    entries = {entry["name"]: entry for entry in json.loads(statistics.read_text())}
    note(kills=len(STAGES) + 1, requests={name: entry["num_requests"] for name, entry in entries.items()})
    assert entries["json"]["num_requests"] and entries["stream"]["num_requests"]
    assert not any(entry["num_failures"] for entry in entries.values())
