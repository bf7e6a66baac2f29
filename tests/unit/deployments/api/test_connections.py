"""What clients send that is not plain HTTP/1.1, byte by byte, before a server that tells what it has understood."""

import asyncio
import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
import uvicorn.config
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.api.connections import NO_REQUEST, PROCESSING, Http1
from deployments.api.proxy import middlewares
from deployments.host import free_port

PATIENCE_S = 40.0
BODY = b'{"prompt": "a red apple"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
# As Java's HttpClient sends it, and curl --http2 with one more space.
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: YSBrZXkgb2YgMTYgYnl0ZQ==\r\n"
OFFERS = {
    "h2c": H2C,
    "websocket": WEBSOCKET,
    "TLS": b"Connection: upgrade\r\nUpgrade: TLS/1.0, HTTP/2.0\r\n",
    "odd spelling": b"cOnNeCtIoN: UPGRADE\r\nuPgRaDe: H2C\r\n",
    "one of several": b"Connection: keep-alive, Upgrade, HTTP2-Settings\r\nUpgrade: h2c, x\r\nHTTP2-Settings: \r\n",
    "two fields": b"Connection: Upgrade\r\nConnection: HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "unknown": b"Connection: upgrade\r\nUpgrade: gopher/7\r\n",
    "not meant": b"Upgrade: h2c\r\n",
}


left = threading.Event()  # set when a client of /slow has left


async def echo(scope: Any, receive: Any, send: Any) -> None:
    request = Request(scope, receive)
    if scope["path"].startswith("/slow"):
        await request.body()
        if scope["path"] == "/slow/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5 if scope["path"] == "/slow" else PATIENCE_S):
                assert (await receive())["type"] == "http.disconnect"
                left.set()
                return
    told = {"method": scope["method"], "path": scope["path"], "query": scope["query_string"].decode()}
    told |= {"body": (await request.body()).decode(), "headers": dict(request.headers), "type": scope["type"]}
    await JSONResponse(told)(scope, receive, send)


@contextmanager
def served(http: Any) -> Iterator[int]:
    """Runs the server, and gives its port."""
    server = uvicorn.Server(uvicorn.Config(echo, port=free_port(), http=http, lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.config.port
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served(Http1) as port:
        yield port


def replies(port: int, *pieces: bytes, count: int = 1) -> list[tuple[int, dict[str, Any]]]:
    """Sends the pieces, each once the one before has arrived, and reads so many replies: status and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            if len(pieces) > 1:
                time.sleep(0.02)  # whether the server reads them one by one changes nothing in what must come
        file = connection.makefile("rb")
        return [_reply(file) for _ in range(count)]


def _reply(file: Any) -> tuple[int, dict[str, Any]]:
    status, length = int(file.readline().split()[1]), 0
    for line in iter(file.readline, b"\r\n"):
        if found := re.match(rb"content-length: (\d+)", line, re.IGNORECASE):
            length = int(found[1])
    if status == 100:
        return _reply(file)
    return status, json.loads(file.read(length))


def post(offer: bytes, body: bytes = LENGTH + b"\r\n" + BODY, path: bytes = b"/v1/x?a=1%202") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\nHost: here\r\nX-Mine: as it is\r\n" + offer + body


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_a_request_that_offers_another_protocol_is_read_whole(port: int, offer: bytes):
    ((status, told),) = replies(port, post(offer))
    assert (status, told["type"], told["method"], told["path"]) == (200, "http", "POST", "/v1/x")
    assert (told["query"], told["body"]) == ("a=1%202", BODY.decode())
    assert told["headers"]["x-mine"] == "as it is" and told["headers"]["host"] == "here"


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_it_may_come_in_pieces_in_chunks_and_after_a_question(port: int, offer: bytes):
    whole = post(offer)
    for places in ((3,), (len(whole) - len(BODY),), (40, len(whole) - 5), tuple(range(0, len(whole), 30))):
        pieces = [whole[a:b] for a, b in zip((0, *places), (*places, None), strict=True)]
        assert replies(port, *filter(None, pieces))[0][1]["body"] == BODY.decode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:7], BODY[7:])) + b"0\r\n\r\n"
    assert replies(port, post(offer, b"Transfer-Encoding: chunked\r\n\r\n" + chunks))[0][1]["body"] == BODY.decode()
    head = post(offer, LENGTH + b"Expect: 100-continue\r\n\r\n")
    assert replies(port, head, BODY)[0][1]["body"] == BODY.decode()


def test_the_connection_goes_on_in_http_1(port: int):
    get = b"GET /%d HTTP/1.1\r\nHost: here\r\n%s\r\n"
    several = post(H2C) + get % (1, H2C) + get % (2, WEBSOCKET) + get % (3, b"")
    for pieces in ([several], [several[:100], several[100:]]):
        found = replies(port, *pieces, count=4)
        assert [told["path"] for _, told in found] == ["/v1/x", "/1", "/2", "/3"]
    many = b"".join(get % (i, H2C) for i in range(2000))
    assert [told["path"] for _, told in replies(port, many, count=2000)] == [f"/{i}" for i in range(2000)]


def test_a_client_that_has_closed_its_side_gets_its_answer(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(post(b"", path=b"/slow"))
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    interim, _, final = answer.rpartition(b"HTTP/1.1 200 OK")
    assert interim and not interim.replace(PROCESSING, b"") and b"connection: close" in final
    assert json.loads(final.partition(b"\r\n\r\n")[2])["body"] == BODY.decode()
    for sent in (b"GET /quick HTTP/1.1\r\nHost: here\r\n\r\n", b"GET /a HTTP/1.1\r\nHost: here\r\n" + H2C + b"\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert b"HTTP/1.1 200 OK" in b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize("path", [b"/slow/json", b"/slow/stream"])
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_client_that_has_left_is_noticed(port: int, path: bytes, how: str):
    left.clear()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(post(b"", path=path))
        if path == b"/slow/stream":
            assert connection.recv(4096)
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert left.wait(PATIENCE_S / 2)


def test_half_a_request_is_not_waited_for(port: int):
    for sent in (post(b"")[:-3], b"GET / HT", b""):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(4096) == b""


def test_a_request_to_be_the_last_still_is(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(post(b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n"))
        assert b"connection: close" in b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\4\0\0\0\0\0", "HTTP/2"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100, "TLS"),
        (b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n", "no proxy"),
        (b"\0\1\2\3\r\n\r\n", NO_REQUEST),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n" + H2C + b"\r\n", NO_REQUEST),
    ],
)
def test_what_is_no_request_is_told_in_the_envelope_and_the_connection_ends(port: int, sent: bytes, message: str):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"x-request-id: " in head
    error = json.loads(body)["error"]
    assert message in error["message"] and error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET http://here/v1/models?x=1 HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET /v1/models?x=1 HTTP/1.0\r\n\r\n",
        b"get /v1/models?x=1 HTTP/1.1\r\nHOST: here\r\n\r\n".replace(b"get", b"GET"),
    ],
)
def test_other_spellings_of_a_request_are_understood(port: int, sent: bytes):
    ((status, told),) = replies(port, sent)
    assert (status, told["path"], told["query"]) == (200, "/v1/models", "x=1")


def test_serves_proxy_listens_with_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", uvicorn.config.HTTP_PROTOCOLS["auto"])
    middlewares()  # called in the proxy's process, before it listens
    config = uvicorn.Config(echo)
    asyncio.run(_load(config))
    assert config.http_protocol_class is Http1


async def _load(config: uvicorn.Config) -> None:
    config.load()
