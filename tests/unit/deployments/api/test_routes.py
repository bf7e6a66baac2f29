"""The HTTP app over ASGI, before a service that answers at once."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from deployments.api.errors import TABLE
from deployments.api.routes import build_api
from deployments.config import Limits
from deployments.errors import Overloaded
from model_core.errors import InvalidValue, ModelNotFound

GENERATIONS = "/v1/images/generations"


class FakeService:
    """Draws the prompt's letters as bytes; raises `error` where there is one."""

    limits = Limits(max_body_bytes=2000)
    error: Exception | None = None
    is_ready = True

    async def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.error:
            raise self.error
        return {"created": 1, "data": [{"image": request["prompt"].encode(), "seed": 7, "clip_score": 0.5}]}

    def list_models(self) -> list[dict[str, Any]]:
        return [self.describe_model("fake/one")]

    def describe_model(self, name: str) -> dict[str, Any]:
        if name != "fake/one":
            raise ModelNotFound("There is no such model.")
        return {"id": name, "object": "model"}

    async def readiness(self) -> dict[str, Any]:
        return {"ready": self.is_ready, "stages": {}}


def ask(service: FakeService, method: str, path: str, **options: Any) -> httpx.Response:
    async def send(api: FastAPI) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://service") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send(build_api(service)))


def assert_envelope(reply: httpx.Response, status: int, code: str) -> None:
    assert reply.status_code == status
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"] and error["type"]
    assert "Traceback" not in reply.text


def test_an_image_is_drawn():
    reply = ask(FakeService(), "POST", GENERATIONS, json={"prompt": "avocado"}, params={"api-version": "2024"})
    assert reply.status_code == 200
    assert reply.json()["data"] == [{"b64_json": "YXZvY2Fkbw==", "seed": 7, "clip_score": 0.5}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"[1]", "object"),
        (b"null", "object"),
        (b"[" * 1900, "nested"),
        (b'{"n": ' + b"9" * 1900 + b"", "not JSON"),
    ],
)
def test_a_broken_body_is_refused(body: bytes, message: str):
    reply = ask(FakeService(), "POST", GENERATIONS, content=body, headers={"content-type": "application/json"})
    assert_envelope(reply, 400, "invalid_value")
    assert message in reply.json()["error"]["message"]


def test_a_number_with_too_many_digits_is_refused():
    service = FakeService()
    service.limits = Limits(max_body_bytes=10_000)
    body = b'{"n": ' + b"9" * 5000 + b"}"
    reply = ask(service, "POST", GENERATIONS, content=body, headers={"content-type": "application/json"})
    assert_envelope(reply, 400, "invalid_value")
    assert "too many digits" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"content": b"x" * 2001, "headers": {"content-type": "application/json"}}, 413, "body_too_large"),
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"content": b"{}"}, 415, "unsupported_media_type"),
        ({"data": {"prompt": "avocado"}}, 415, "unsupported_media_type"),
        ({"json": {}, "headers": {"content-encoding": "gzip"}}, 415, "unsupported_media_type"),
    ],
)
def test_bodies_of_the_wrong_kind_are_refused(options: dict[str, Any], status: int, code: str):
    assert_envelope(ask(FakeService(), "POST", GENERATIONS, **options), status, code)


def test_pages_and_methods_that_are_not_there():
    assert_envelope(ask(FakeService(), "GET", "/nope"), 404, "not_found")
    reply = ask(FakeService(), "GET", GENERATIONS)
    assert_envelope(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize(("error", "status", "code"), [(line[0], line[1], line[3]) for line in TABLE])
def test_every_line_of_the_table(error: type[Exception], status: int, code: str):
    service = FakeService()
    service.error = Overloaded("busy", 17) if error is Overloaded else error("it is so")
    reply = ask(service, "POST", GENERATIONS, json={"prompt": "avocado"})
    assert_envelope(reply, status, code)
    assert ("retry-after" in reply.headers) == (status in (408, 429, 503))
    if error is Overloaded:
        assert reply.headers["retry-after"] == "17"


def test_the_field_to_blame_is_named():
    service = FakeService()
    service.error = InvalidValue("n must be small", "n")
    assert ask(service, "POST", GENERATIONS, json={"prompt": "a"}).json()["error"]["param"] == "n"


def test_an_unforeseen_error_tells_its_id_and_no_more(caplog: pytest.LogCaptureFixture):
    service = FakeService()
    service.error = RuntimeError("secret")
    reply = ask(service, "POST", GENERATIONS, json={"prompt": "a"}, headers={"x-request-id": "abc-1"})
    assert_envelope(reply, 500, "internal_error")
    assert "abc-1" in reply.text and "secret" not in reply.text


def test_models():
    service = FakeService()
    assert ask(service, "GET", "/v1/models").json() == {
        "object": "list",
        "data": [{"id": "fake/one", "object": "model"}],
    }
    assert ask(service, "GET", "/v1/models/fake%2Fone").json()["id"] == "fake/one"
    reply = ask(service, "GET", "/v1/models/other")
    assert_envelope(reply, 404, "model_not_found")
    assert reply.json()["error"]["param"] == "model"


def test_health_and_readiness():
    service = FakeService()
    assert ask(service, "GET", "/health").status_code == 200
    assert ask(service, "GET", "/ready").status_code == 200
    service.is_ready = False
    reply = ask(service, "GET", "/ready")
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0
    assert ask(service, "GET", "/health").status_code == 200


def test_the_description_holds_the_request():
    body = ask(FakeService(), "GET", "/openapi.json").json()["paths"][GENERATIONS]["post"]["requestBody"]
    assert "best_of" in body["content"]["application/json"]["schema"]["properties"]
