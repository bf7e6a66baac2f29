"""Runs the load test against a service of its own on this machine: starts it, waits until it can draw, stops it.

Knows of the service what any client knows: a command that starts it, and its URL.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from loadtest.http import fetch

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 120.0
POLL_S = 0.5


def main() -> int:
    """Runs locust without its page; gives its exit status, 1 where a threshold was not kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="All other options are locust's, and those of loadtest/locustfile.py."
    )
    parser.add_argument("--time", default="60s", help="how long, as locust says it: 60s, 5m")
    parser.add_argument("--out", type=Path, default=Path("out/loadtest"), help="folder for the report and its tables")
    asked, more = parser.parse_known_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    reports = ["--html", str(asked.out / "report.html"), "--csv", str(asked.out / "run")]
    with service() as url:
        load = ["--headless", "--only-summary", "--run-time", asked.time, "--host", url, *reports, *more]
        status = subprocess.call([sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *load])
    print(f"report    {asked.out / 'report.html'}")
    return status


@contextlib.contextmanager
def service(*options: str) -> Iterator[str]:
    """A service on a free port, started with options of `dalle-serve serve`, as its URL; at the end it is stopped."""
    port = free_port()
    command = Path(sys.executable).with_name("dalle-serve")
    url = f"http://127.0.0.1:{port}"
    with running(subprocess.Popen([command, "serve", "--port", str(port), *options]), url):
        yield url


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(process: subprocess.Popen, url: str) -> Iterator[None]:
    """Waits until the service at `url` can draw; at the end its process is stopped."""
    try:
        wait_until_ready(process, url)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until_ready(process: subprocess.Popen, url: str) -> None:
    """Waits until the service can draw; ends the program where it does not get so far."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if json.loads(fetch(f"{url}/ready", timeout_s=10))["ready"]:
                return
        time.sleep(POLL_S)
    raise SystemExit(f"The service at {url} did not get ready; what it said stands above.")


if __name__ == "__main__":
    sys.exit(main())
