"""`dalle-serve serve` as a process: started on a machine that is too slow; told to stop, hung up on, or killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from deployments.host import free_port, http_client
from deployments.local import START_TIMEOUT_S
from tests.chaos.clients import GENERATIONS, PATIENCE_S
from tests.serve.processes import alive, descendants

ROOT = Path(__file__).parents[2]
HUP, TERM, KILL = signal.SIGHUP, signal.SIGTERM, signal.SIGKILL
NOTHING_AFTER_S = 10.0
# Found by every Python that is started: the first of Ray's agents sleeps through the time that Ray gives it.
SLOW = """
import pathlib, sys, time
mark = pathlib.Path(__file__).with_name("mark")
if any(word.endswith("dashboard/agent.py") for word in sys.orig_argv) and not mark.exists():
    mark.touch()
    time.sleep(600)
"""
FIELDS = {"prompt": "an avocado", "n": 10, "best_of": 64, "response_format": "b64_json"}
Start = Callable[..., "Service"]


class Service:
    """A running `dalle-serve serve`, a request that it has accepted, and what it says."""

    def __init__(self, model: Path, log: Path, *before: str, path: Path = ROOT):
        port = free_port()
        command = "from deployments.cli.main import app; app()"
        options = ["serve", "--port", str(port), "--model", str(model)]
        self._log = log
        with log.open("w") as output:
            # A group of its own, as a shell gives it: what is sent to the group is not sent to the tests.
            self.process = subprocess.Popen(
                [*before, sys.executable, "-c", command, *options],
                stdout=output,
                stderr=output,
                env=os.environ | {"PYTHONPATH": f"{ROOT}:{path}"},
                process_group=0,
            )
        self.url = f"http://127.0.0.1:{port}"
        self.started: dict[int, str] = {}
        self.answers: list[httpx.Response | httpx.TransportError] = []
        self._client = threading.Thread(target=self._ask)

    def wait_until_ready(self) -> None:
        self.wait_until(lambda: "Ready at" in self.said(), START_TIMEOUT_S)
        self.started = descendants(self.process.pid)
        assert any("raylet" in command for command in self.started.values())

    def ask(self) -> None:
        """Has a request accepted."""
        self._client.start()
        with http_client(self.url, timeout=60) as http:
            self.wait_until(lambda: http.get("/ready").json()["pending_images"] > 0)
        assert not self.answers, "it was drawn too soon to stop it"

    def answer(self) -> httpx.Response | httpx.TransportError:
        self._client.join(PATIENCE_S)
        return self.answers[0]

    def said(self) -> str:
        return self._log.read_text()

    def wait_until(self, happened: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience_s
        while not happened():
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def send(self, number: int, *, to_group: bool = False) -> None:
        (os.killpg if to_group else os.kill)(self.process.pid, number)

    def gone_after_s(self) -> float:
        """How long any of its processes is left."""
        began = time.monotonic()
        while left := alive(self.started):
            assert time.monotonic() < began + PATIENCE_S, f"left behind: {[self.started[pid] for pid in left]}"
            time.sleep(0.1)
        return time.monotonic() - began

    def _ask(self) -> None:
        try:
            with http_client(self.url, timeout=PATIENCE_S) as http:
                self.answers.append(http.post(GENERATIONS, json=FIELDS))
        except httpx.TransportError as error:
            self.answers.append(error)


@pytest.fixture
def start(own_home: None, tiny_model: Path, tmp_path: Path) -> Iterator[Start]:
    services: list[Service] = []

    def start(*before: str, path: Path = ROOT) -> Service:
        services.append(Service(tiny_model, tmp_path / "log", *before, path=path))
        services[-1].wait_until_ready()
        return services[-1]

    yield start
    for service in services:
        service.process.kill()
        service.process.wait(PATIENCE_S)
        for pid in alive(service.started):
            psutil.Process(pid).kill()


def test_a_start_that_was_too_slow_is_made_again(start: Start, tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    service = start(path=tmp_path)
    assert service.said().count("Ray did not start in time, trying again") == 1
    assert (tmp_path / "mark").exists()
    (_,) = [line for line in service.started.values() if line.split()[0].endswith("/raylet")]  # the first one is gone
    service.ask()
    service.send(TERM)
    answer = service.answer()
    assert isinstance(answer, httpx.Response) and answer.status_code == 200, service.said()
    assert service.process.wait(PATIENCE_S) == 0
    service.gone_after_s()


def test_a_closed_terminal_and_an_impatient_wrapper_lose_no_request(start: Start, note: Callable[..., None]):
    """The terminal sends SIGHUP to all that it started, and so does `timeout` its SIGTERM, after one to the service."""
    service = start()
    service.ask()
    service.send(HUP, to_group=True)
    service.wait_until(lambda: "finishing what was accepted" in service.said())
    service.send(TERM, to_group=True)
    service.wait_until(lambda: "still finishing" in service.said())
    answer = service.answer()
    assert isinstance(answer, httpx.Response) and answer.status_code == 200, service.said()
    assert len(answer.json()["data"]) == 10
    assert service.process.wait(PATIENCE_S) == 0
    note(gone_after_s=round(service.gone_after_s(), 1))


def test_who_insists_is_obeyed(start: Start, note: Callable[..., None]):
    service = start("nohup")
    service.ask()
    service.send(HUP)  # means nothing
    service.send(TERM)
    service.wait_until(lambda: "finishing what was accepted" in service.said())
    service.send(TERM)
    service.wait_until(lambda: "still finishing" in service.said())
    service.send(TERM)
    service.wait_until(lambda: "is broken off" in service.said())
    answer = service.answer()
    assert isinstance(answer, httpx.TransportError) or answer.status_code >= 500
    assert service.process.wait(PATIENCE_S) == 0
    note(gone_after_s=round(service.gone_after_s(), 1))


def test_a_killed_service_leaves_nothing(start: Start, note: Callable[..., None]):
    service = start()
    service.ask()
    service.send(KILL)
    service.process.wait(PATIENCE_S)
    seconds = service.gone_after_s()
    note(gone_after_s=round(seconds, 1))
    assert seconds <= NOTHING_AFTER_S
