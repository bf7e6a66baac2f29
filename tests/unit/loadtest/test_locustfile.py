"""The load test against a server whose answers are known, as locust runs it."""

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
LOCUSTFILE = ROOT / "loadtest/locustfile.py"
LOCUST = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE)]
PICTURE = "aGVsbG8="
STEP_S = 0.1


class Service(ThreadingHTTPServer):
    """Answers at once, a stream after a while; `script` says how, request after request, its last for all that follow.

    ok: images or a whole stream. refuse: 429. fail: 500. cut: a stream that ends in an error event.
    """

    daemon_threads = True
    request_queue_size = 64  # with the default of 5, some of many connections at once are made a second later

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.script = ["ok"]
        self.asked: list[dict[str, Any]] = []
        self.cache_controls: set[str | None] = set()
        self.lock = threading.Lock()
        self.under_way = self.most_under_way = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """At its end locust hangs up in the middle of answers."""

    @contextmanager
    def turn(self, fields: dict[str, Any]) -> Iterator[str]:
        with self.lock:
            self.asked.append(fields)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            turn = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        yield turn
        with self.lock:
            self.under_way -= 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        self.server.cache_controls.add(self.headers["cache-control"])
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-type"] == "application/json":
            fields = json.loads(body)
        else:
            fields = dict(re.findall(r'name="(\w+)"[^\r]*(?:\r\n[^\r]+)*\r\n\r\n([^\r]*)', body.decode()))
            fields |= {"n": int(fields["n"])}
        with self.server.turn(fields) as turn:
            self.answer(turn, fields)

    def answer(self, turn: str, fields: dict[str, Any]) -> None:
        if turn == "refuse":
            self.reply(429, {"error": {"message": "busy"}}, {"retry-after": "0"})
        elif turn == "fail":
            self.reply(500, {"error": {"message": "broken"}})
        elif "stream" in fields:
            self.stream({"type": "image_generation.completed"} if turn == "ok" else {"error": {"message": "broken"}})
        else:
            time.sleep(STEP_S)
            found = {"x-dalle-serve-cache": "hit"} if "seed" in fields else None
            self.reply(200, {"data": [{"b64_json": PICTURE}] * fields.get("n", 1)}, found)

    def stream(self, last: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in ({"type": "image_generation.partial_image"}, last):
            time.sleep(STEP_S)
            text = f": ping\n\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def reply(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"content-length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """The tests read what locust prints."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.05,))
        thread.start()
        yield service
        service.shutdown()
        thread.join()


def load(service: Service, requests: int, *arguments: str) -> tuple[int, dict[str, str]]:
    """The exit status of a run of so many requests, and the lines of its report by their first word."""
    run = [*LOCUST, "--headless", "--only-summary", "--host", service.url, *arguments]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as process:
        try:
            deadline = time.monotonic() + 120
            while len(service.asked) < requests and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(3 * STEP_S)  # for the last answers to arrive
            process.terminate()
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    lines = [line.split(maxsplit=1) for line in output.splitlines()]
    report = {words[0]: words[1] for words in lines if len(words) == 2 and words[0].isalpha()}
    assert "requests" in report, output
    return process.returncode, report


def test_a_first_picture_that_is_refused_is_asked_for_again(service: Service):
    service.script = ["refuse", "ok"]
    status, report = load(service, 60, "--ways", "variation", "--users=1")
    assert status == 0, report
    assert "of them 1 refused, 0 failed (200:" in report["requests"]


def test_a_proxy_of_the_environment_is_not_asked(service: Service, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    status, report = load(service, 3, "--ways", "json", "--users=1")
    assert status == 0, report
    assert "0 failed" in report["requests"]


def test_a_closed_loop_asks_in_every_way_and_counts_refusals_apart(service: Service):
    service.script = ["refuse"] * 3 + ["ok"]
    ways = ["--ways", "json", "stream", "best_of", "variation"]
    options = ["--users=11", "--spawn-rate=100", "--images=2", "--models", "a", "b", "--max-first-preview-p95=5"]
    status, report = load(service, 60, *ways, *options)
    assert status == 0, report
    assert not report["images"].startswith("0 ")
    assert "of them 3 refused, 0 failed (200:" in report["requests"]
    assert STEP_S <= float(report["preview"].split()[-2]) < float(report["latency"].split()[-2])
    varied = [fields for fields in service.asked if "keep" in fields]
    assert {(fields["best_of"], fields["keep"], fields["image"]) for fields in varied} == {("8", "0.9", "hello")}
    (first,) = [fields for fields in service.asked if "response_format" in fields]  # what all of them vary
    others = [fields for fields in service.asked if "keep" not in fields and fields is not first]
    plain = [fields for fields in others if "stream" not in fields and "best_of" not in fields]
    streamed = [fields for fields in others if "stream" in fields]
    best = [fields for fields in others if "best_of" in fields]
    assert {fields["n"] for fields in plain} == {2}
    assert {(fields["n"], fields["partial_images"]) for fields in streamed} == {(1, 3)}
    assert {(fields["n"], fields["best_of"]) for fields in best} == {(1, 8)}
    assert {fields["model"] for fields in others} == {"a", "b"}
    assert service.cache_controls == {"no-store"} and "cache" not in report


def test_errors_in_a_status_and_in_a_stream_fail_the_run(service: Service):
    service.script = ["fail", "cut", "ok"]
    status, report = load(service, 5, "--users=1", "--ways", "stream")
    assert status == 1
    assert "2 failed" in report["requests"] and report["BROKEN"] == "2 requests failed, allowed are 0"


def test_an_open_loop_does_not_wait_for_answers(service: Service):
    """Here with a trace, of which the service may keep what it draws."""
    trace = ["--trace=zipf", "--trace-size=3", "--ways", "json"]
    status, report = load(service, 40, "--users=1", "--rate=200", *trace)
    assert status == 0
    assert {fields["seed"] for fields in service.asked} <= {0, 1, 2} and service.cache_controls == {None}
    assert report["cache"].startswith("100% hit of ")
    assert service.most_under_way > 3  # of one user


def test_two_workers_ask_and_their_master_judges(service: Service):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    command = [*LOCUST, "--worker", "--master-port", port]
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) for _ in range(2)]
    try:
        master = ["--master", "--master-bind-port", port, "--expect-workers=2", "--users=2", "--spawn-rate=10"]
        status, report = load(service, 60, *master, "--rate=20", "--ways", "json", "--max-p95=0.01")
        assert [worker.wait(60) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert status == 1 and report["BROKEN"].startswith("95th percentile 0.")
    assert report["requests"].endswith(f"0 refused, 0 failed (200: {report['requests'].split(',')[0]})")
