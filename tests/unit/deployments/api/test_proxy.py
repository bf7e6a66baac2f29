"""The middleware around Serve's proxy, before something that answers as that proxy does."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from deployments.api.proxy import IMPORT_PATH, SERVE_HEADERS, Envelope, middlewares
from deployments.local import set_environment
from tests.unit.deployments.api.fake_service import assert_envelope


def ask(app: ASGIApp, path: str = "/v1/models", **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(Envelope(app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as session:
            return await session.get(path, **options)

    return asyncio.run(send())


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """What the proxy does when the gateway's replica dies under a request."""


async def failing(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("the proxy's own")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "not_found"),
        (408, "request_timeout"),
        (429, "rate_limit_exceeded"),
        (500, "internal_error"),
        (503, "service_unavailable"),
    ],
)
def test_what_serve_says_in_plain_text_comes_in_the_envelope(status: int, code: str):
    reply = ask(PlainTextResponse("Request 4711 failed: Traceback", status), headers={"x-request-id": "mine"})
    assert_envelope(reply, status, code)
    assert reply.headers["x-request-id"] == "mine"
    assert "4711" not in reply.text
    assert ("retry-after" in reply.headers) == (status in (429, 503))


def test_serves_own_time_to_come_back_is_kept():
    assert ask(PlainTextResponse("busy", 503, {"retry-after": "9"})).headers["retry-after"] == "9"


@pytest.mark.parametrize("app", [silent, failing])
def test_no_answer_is_one_to_come_back_for(app: ASGIApp):
    reply = ask(app)
    assert_envelope(reply, 503, "service_unavailable")
    assert reply.headers["retry-after"] == "1" and reply.headers["x-request-id"]


def test_the_services_own_answers_pass_unchanged():
    for answer in (Response(b'{"error":1}', 400, media_type="application/json"), PlainTextResponse("fine")):
        reply = ask(answer)
        assert (reply.status_code, reply.content) == (answer.status_code, answer.body)


def test_serves_own_routes_are_left_alone():
    assert ask(PlainTextResponse("draining", 503), "/-/healthz").text == "draining"


def test_a_caller_cannot_speak_to_serve_and_has_a_sane_id():
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        seen = {name.decode(): value.decode() for name, value in scope["headers"]}
        await JSONResponse(seen)(scope, receive, send)

    spoofed = dict.fromkeys(SERVE_HEADERS, "1") | {"serve-multiplexed-model-id": "1"}
    for sent, is_kept in (("abc", True), ("x" * 129, False), ("a b", False)):
        seen = ask(echo, headers=spoofed | {"x-request-id": sent}).json()
        assert not set(spoofed) & set(seen)
        assert (seen["x-request-id"] == sent) == is_kept and 0 < len(seen["x-request-id"]) <= 128


def test_serve_finds_it(given_back_environment: None):
    import os

    from ray._common.utils import import_attr

    set_environment()
    assert os.environ["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"] == IMPORT_PATH
    assert import_attr(IMPORT_PATH) is middlewares
    assert middlewares()[0].cls is Envelope
