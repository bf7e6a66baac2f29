"""Clients that are not Python's, where they are at hand: OpenAI's for Node.js, Java's own, curl; and bare sockets."""

import json
import os
import pwd
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deployments.local import LocalService
from model_core.shipped import packages
from tests.serve.test_openai_client import picture
from tests.serve.test_service import GENERATIONS

CLIENTS = Path(__file__).parent / "clients"
OPENAI = "7.59.0"  # of its npm package, the newest when this was written
OLDEST_NODE = 20
PATIENCE_S = 240.0


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    file = tmp_path / "picture.png"
    file.write_bytes(picture(alpha=0))
    return file


@pytest.fixture
def node_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the script, and beside it OpenAI's package, fetched once and kept in this user's cache."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node, or no npm, here")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    if int(version[1:].split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node is {version.strip()}; OpenAI's client {OPENAI} needs {OLDEST_NODE}")
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)  # with npm's settings, where the service has another
    try:
        archive = packages.fetch("openai", OPENAI, packages.CACHE)
    except packages.PackageError as error:
        pytest.skip(f"OpenAI's npm package is not at hand: {error}")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path / "node_modules", filter="data")
    (tmp_path / "node_modules" / "package").rename(tmp_path / "node_modules" / "openai")
    shutil.copy(CLIENTS / "openai_client.mjs", tmp_path)
    return tmp_path


def run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = os.environ | {"NO_PROXY": "*", "no_proxy": "*"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_openais_client_for_node_draws(service: LocalService, node_folder: Path, picture_file: Path):
    seen = json.loads(run("node", "openai_client.mjs", service.url, picture_file, cwd=node_folder))
    assert seen["generated"] == ["\x89PNG"] * 2 and seen["about"] == ["64x64", "low", True, True]
    assert seen["streamed"] == ["image_generation.completed", True]
    assert seen["edited"] == seen["varied"] == ["\x89PNG"]
    assert (seen["models"], seen["model"]) == (["tiny", "tiny:refine"], "tiny")
    assert seen["unknownModel"] == ["NotFoundError", 404, "model_not_found", "model", True]
    assert seen["unknownField"] == ["BadRequestError", 400, "unknown_parameter", "passes", True]
    assert seen["withoutV1"] == ["NotFoundError", 404, "not_found", None, True]
    assert seen["left"][0] == "APIUserAbortError"


def test_javas_client_draws_whatever_it_offers(service: LocalService, picture_file: Path):
    java = shutil.which("java")
    modules = java and subprocess.run([java, "--list-modules"], capture_output=True, text=True, timeout=60).stdout
    if not modules or "jdk.compiler@" not in modules:
        pytest.skip("there is no JDK here: no java, or one without a compiler")
    seen = run("java", CLIENTS / "JavaClient.java", service.url, picture_file).splitlines()
    image = '200 {"created'
    replies = {
        **dict.fromkeys(("length", "chunked", "expect", "form"), image),
        "get": '200 {"object"',
        "head": "200",
        "refused": '400 {"error":',
        "stream": "200 event: image_generation.completed",
    }
    assert seen == [f"{offer} {what} {reply}" for offer in ("HTTP_1_1", "HTTP_2") for what, reply in replies.items()]


@pytest.mark.parametrize("way", ["--http2", "--http1.1", "--http1.0"])
def test_curl_draws_whatever_it_offers(service: LocalService, way: str):
    curl = shutil.which("curl")
    if curl is None or (way == "--http2" and " HTTP2" not in run("curl", "--version")):
        pytest.skip("there is no curl here, or none that knows HTTP/2")
    body = ("-H", "Content-Type: application/json", "-d", '{"prompt": "an avocado"}')
    answer = run("curl", "-s", way, "-w", " %{http_code}", f"{service.url}/v1/images/generations", *body)
    assert answer.startswith('{"created"') and answer.endswith(" 200"), answer[:300]
    assert run("curl", "-s", way, "-I", f"{service.url}/v1/models").startswith("HTTP/1.1 200")


@pytest.mark.parametrize("offer", ["", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: YQ==\r\n"])
def test_a_client_that_closes_its_side_is_answered_whatever_it_offers(service: LocalService, offer: str):
    body = json.dumps({"prompt": "an avocado"})
    head = f"POST {GENERATIONS} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\n"
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S) as connection:
        connection.sendall(f"{head}{offer}\r\n{body}".encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"HTTP/1.1 200 OK\r\n" in answer and b'{"created"' in answer
