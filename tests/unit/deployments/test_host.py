import ast
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from deployments import host
from deployments.cli import checks
from deployments.cli.client import draw
from deployments.config import AppConfig
from deployments.errors import RequestFailed
from deployments.local import LocalService
from loadtest.http import fetch

ROOT = Path(__file__).parents[3]
NOBODY = "http://127.0.0.1:9"  # the port of a service that is nowhere any more
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("", False), ("no.such.name", False)],
)
def test_loopback(address: str, loopback: bool):
    assert host.is_loopback(address) == loopback


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("localhost", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("::", True),
        ("203.0.113.7", False),
        ("no.such.name.invalid", False),
        ("", False),
        ("a" * 70, False),
    ],
)
def test_here(address: str, here: bool):
    assert host.is_here(address) == here


def test_a_port_can_be_listened_on():
    assert host.bind_problem("127.0.0.1", host.free_port()) == ""
    assert host.bind_problem("localhost", host.free_port()) == ""


def test_a_taken_port_is_taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert f"Port {port} on 127.0.0.1 is taken" in host.bind_problem("127.0.0.1", port)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("203.0.113.7", "203.0.113.7 is no address of this machine"),
        ("2001:db8::7", "2001:db8::7 is no address of this machine|no addresses of the kind"),
        ("no.such.name.invalid", "no name that this machine knows"),
        ("a" * 70, "no name that this machine knows"),
    ],
)
def test_an_address_that_is_not_here_is_not_called_taken(address: str, words: str):
    problem = host.bind_problem(address, 8053)
    assert any(word in problem for word in words.split("|"))
    assert "taken" not in problem and "--host" in problem


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("EACCES", "may not listen on port 80 of 127.0.0.1, and ports below 1024"),
        ("EPERM", "may not listen"),
        ("EADDRINUSE", "is taken"),
        ("EADDRNOTAVAIL", "no address of this machine"),
        ("EAFNOSUPPORT", "no addresses of the kind"),
        ("EINVAL", "cannot be used: Invalid argument"),
    ],
)
def test_every_cause_has_its_words(monkeypatch: pytest.MonkeyPatch, number: str, words: str):
    def bind(listener: socket.socket, address: object) -> None:
        code = getattr(host.errno, number)
        raise OSError(code, host.os.strerror(code))

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert words in host.bind_problem("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("name", "http://name:8000"),
    ],
)
def test_where_a_service_is_reached(address: str, url: str):
    assert host.url_of(address, 8000) == url


# Proxies.


class Ready(BaseHTTPRequestHandler):
    """A service that is ready, and refuses to draw."""

    def do_GET(self) -> None:
        self._answer(200, b'{"ready": true}')

    def do_POST(self) -> None:
        self._answer(400, b'{"error": {"message": "it was asked directly"}}')

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def service() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=[NOBODY, "socks5://127.0.0.1:9", "no url"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Proxies in the environment that would fail every request through them."""
    for name in PROXIES:
        monkeypatch.setenv(name, "" if name == "no_proxy" else request.param)
        monkeypatch.delenv(name.upper(), raising=False)
    return request.param


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_this_machine_is_asked_directly(service: HTTPServer, proxy: str, name: str):
    url = f"http://{name}:{service.server_port}"
    with host.http_client(url, timeout=60) as client:
        assert client.get("/ready").json() == {"ready": True}
    assert host.proxy_of(url) == ""
    assert fetch(f"{url}/ready", timeout_s=60) == b'{"ready": true}'


def test_everything_that_asks_this_machine_asks_directly(service: HTTPServer, proxy: str):
    """`generate --url` and `demo`, the start and `doctor`; `bench serve` uses the same client."""
    url = f"http://127.0.0.1:{service.server_port}"
    with pytest.raises(RequestFailed, match="it was asked directly"):
        draw(url, {"prompt": "x"})
    local = LocalService(AppConfig(), port=service.server_port)
    local._wait_for_http()
    assert "ready: True" in checks.check_port("127.0.0.1", service.server_port).message


def test_a_proxy_in_the_way_of_another_machine_is_named(proxy: str):
    url = "http://192.0.2.1:8000"
    assert host.proxy_of(url) == proxy
    with pytest.raises(RequestFailed) as raised:
        draw(url, {"prompt": "x"}, timeout_s=5)
    assert f"through the proxy {proxy}" in str(raised.value)


def test_what_is_bypassed_is_bypassed(proxy: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "192.0.2.1")
    assert host.proxy_of("http://192.0.2.1:8000") == ""


@pytest.mark.parametrize("package", ["deployments", "loadtest"])
def test_no_client_is_made_elsewhere(package: str):
    """Who makes a client of its own decides on proxies of its own."""
    makers = {"Client", "AsyncClient", "HTTPTransport", "Session", "build_opener", "urlopen", "ProxyHandler"}
    makers |= {"HTTPConnection", "HTTPSConnection", "ClientSession"}
    shortcuts = {("httpx", verb) for verb in ("get", "post", "put", "head", "request", "stream", "delete")}
    shortcuts |= {("requests", verb) for _, verb in shortcuts}
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Attribute):
                owner = getattr(node.func.value, "id", "")
                if node.func.attr in makers or (owner, node.func.attr) in shortcuts:
                    found.add(str(path.relative_to(ROOT)))
            elif isinstance(node.func, ast.Name) and node.func.id in makers:
                found.add(str(path.relative_to(ROOT)))
    assert found == {"deployments": {"deployments/host.py"}, "loadtest": {"loadtest/http.py"}}[package]


def test_a_client_of_another_machine_takes_the_proxy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", NOBODY)
    with host.http_client("http://192.0.2.1", timeout=60) as client, pytest.raises(httpx.ConnectError, match="refused"):
        client.get("/")
