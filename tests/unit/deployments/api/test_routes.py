"""The HTTP app over ASGI, before a service that answers at once."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.api.errors import STATUSES, TABLE
from deployments.api.reply_schemas import ErrorReply, Health, Model, ModelList, Readiness
from deployments.config import AccessConfig, AppConfig, Limits
from deployments.errors import ContentRefused, Overloaded
from model_core.errors import InvalidValue
from tests.unit.deployments.api.fake_service import GENERATIONS, FakeService, ask, assert_envelope, events_of

DOCS = Path(__file__).parents[4] / "docs"


def small_bodies(**limits: Any) -> FakeService:
    return FakeService(AppConfig(limits=Limits(max_body_bytes=limits.pop("max_body_bytes", 2000), **limits)))


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
    reply = ask(small_bodies(), "POST", GENERATIONS, content=body, headers={"content-type": "application/json"})
    assert_envelope(reply, 400, "invalid_value")
    assert message in reply.json()["error"]["message"]


def test_a_number_with_too_many_digits_is_refused():
    body = b'{"n": ' + b"9" * 5000 + b"}"
    service = small_bodies(max_body_bytes=10_000)
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
    assert_envelope(ask(small_bodies(), "POST", GENERATIONS, **options), status, code)


def test_pages_and_methods_that_are_not_there():
    assert_envelope(ask(FakeService(), "GET", "/nope"), 404, "not_found")
    reply = ask(FakeService(), "GET", GENERATIONS)
    assert_envelope(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize(("error", "status", "code"), [(line[0], line[1], line[3]) for line in TABLE])
def test_every_line_of_the_table(error: type[Exception], status: int, code: str):
    service = FakeService()
    service.error = Overloaded("busy", 17) if error is Overloaded else error("it is so")
    for stream in (False, True):
        reply = ask(service, "POST", GENERATIONS, json={"prompt": "avocado", "stream": stream})
        assert_envelope(reply, status, code)
        assert ("retry-after" in reply.headers) == (status in (429, 503))
        assert reply.headers.get("x-should-retry") == ("false" if status == 408 else None)
        if error is Overloaded:
            assert reply.headers["retry-after"] == "17"


def test_the_table_is_the_documented_one():
    """Status and code of each error, and an error for each of them."""
    rows = re.findall(r"^\| ([\d, ]+) \| ((?:`\w+`(?:, )?)+) \|", (DOCS / "api.md").read_text(), re.MULTILINE)
    documented = {
        (int(status), code)
        for statuses, codes in rows
        for status in statuses.split(",")
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert {(line[1], line[3]) for line in TABLE} <= documented
    known = {line[3] for line in TABLE} | {code for _, code in STATUSES.values()}
    assert {code for _, code in documented} <= known


@pytest.mark.parametrize(("stage", "category"), [("input", "prompt_policy"), ("output", "refused_concepts")])
def test_a_refusal_says_who_refused_and_when(stage: str, category: str):
    """Clients tell a refusal by its code or by these details."""
    service = FakeService()
    service.error = ContentRefused("not here", "prompt", stage)
    for fields in ({}, {"stream": True}, {"stream": True, "partial_images": 1}):
        reply = ask(service, "POST", GENERATIONS, json={"prompt": "a"} | fields)
        error = events_of(reply)[-1]["error"] if "partial_images" in fields else reply.json()["error"]
        ErrorReply.model_validate({"error": error})
        assert (error["type"], error["code"]) == ("invalid_request_error", "content_policy_violation")
        assert error["moderation_details"] == {"categories": [category], "moderation_stage": stage}


@pytest.mark.parametrize("partial_images", [0, 2])
def test_an_unforeseen_error_in_a_stream_tells_no_more_either(partial_images: int):
    service = FakeService()
    service.error = RuntimeError("secret")
    fields = {"prompt": "a", "stream": True, "partial_images": partial_images}
    reply = ask(service, "POST", GENERATIONS, json=fields)
    assert "internal_error" in reply.text and "secret" not in reply.text


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
    ModelList.model_validate(ask(service, "GET", "/v1/models").json())
    found = Model.model_validate(ask(service, "GET", "/v1/models/fake%2Fone").json())
    assert found.id == "fake/one"
    reply = ask(service, "GET", "/v1/models/other")
    assert_envelope(reply, 404, "model_not_found")
    assert reply.json()["error"]["param"] == "model"


def test_health_and_readiness():
    service = FakeService()
    Health.model_validate(ask(service, "GET", "/health").json())
    Readiness.model_validate(ask(service, "GET", "/ready").json())
    service.is_ready = False
    reply = ask(service, "GET", "/ready")
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0
    assert ask(service, "GET", "/health").status_code == 200


def test_every_reply_says_how_long_it_took():
    for path in ("/health", "/nope"):
        assert int(ask(FakeService(), "GET", path).headers["openai-processing-ms"]) >= 0


def test_pages_from_elsewhere_may_call_only_where_that_is_wished():
    wish = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in ask(FakeService(), "GET", "/health", headers=wish).headers
    assert ask(FakeService(), "OPTIONS", GENERATIONS, headers=wish).status_code == 405
    config = AppConfig(access=AccessConfig(cors_origins=["https://elsewhere.example"]))
    allowed = ask(FakeService(config), "OPTIONS", GENERATIONS, headers=wish)
    assert allowed.headers["access-control-allow-origin"] == "https://elsewhere.example"
    wish["origin"] = "https://third.example"
    assert "access-control-allow-origin" not in ask(FakeService(config), "OPTIONS", GENERATIONS, headers=wish).headers


def test_only_this_machine_is_answered_without_keys():
    remote = ("10.1.2.3", 9)
    assert_envelope(ask(FakeService(), "GET", "/v1/models", client=remote), 403, "access_denied")
    assert ask(FakeService(), "GET", "/health", client=remote).status_code == 200
    for here in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert ask(FakeService(), "GET", "/v1/models", client=(here, 9)).status_code == 200
    everybody = FakeService(AppConfig(access=AccessConfig(allow_remote=True)))
    assert ask(everybody, "GET", "/v1/models", client=remote).status_code == 200


def test_with_keys_only_their_holders_are_answered(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text("a-key-of-some-length 4\n")
    service = FakeService(AppConfig(access=AccessConfig(keys_file=str(file))))
    for header in ({}, {"authorization": "Bearer a-wrong-key"}, {"authorization": "Basic !"}):
        reply = ask(service, "POST", GENERATIONS, json={"prompt": "a"}, headers=header)
        assert_envelope(reply, 401, "invalid_api_key")
        assert reply.headers["www-authenticate"] == "Bearer"
        message = reply.json()["error"]["message"]  # others tell a wrong key by OpenAI's words
        assert message.startswith("Incorrect API key provided") and "a-wrong-key" not in message
    mine = {"authorization": "Bearer a-key-of-some-length"}
    assert ask(service, "GET", "/v1/models", headers=mine, client=("10.1.2.3", 9)).status_code == 200
    assert ask(service, "POST", GENERATIONS, json={"prompt": "a", "n": 3}, headers=mine).status_code == 200
    refused = ask(service, "POST", GENERATIONS, json={"prompt": "a", "n": 2}, headers=mine)
    assert_envelope(refused, 429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert "there is room for 1 now, and this request wants 2" in refused.json()["error"]["message"]
    assert_envelope(ask(service, "POST", GENERATIONS, json={"prompt": "a", "n": 5}, headers=mine), 400, "invalid_value")
    assert ask(service, "POST", GENERATIONS, json={"prompt": "a"}, headers=mine).status_code == 200


PAGES = ("/", "/docs", "/openapi.json", "/health", "/ready", "/version", "/v1/models", "/v1/models/fake%2Fone",
         "/assets/app.js", "/assets/style.css", "/assets/icon.svg", "/nope", "/v1/models/other")  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_head_says_what_get_would_without_a_body(path: str):
    as_it_lies = {"accept-encoding": "identity"}  # the length of what is compressed on the way is not known before
    got, head = (ask(FakeService(), method, path, headers=as_it_lies) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (got.status_code, b"") and got.content

    def said(reply: httpx.Response) -> dict[str, str]:
        return {name: value for name, value in reply.headers.items() if name != "openai-processing-ms"}

    assert said(head) == said(got) and int(head.headers["content-length"]) == len(got.content)


def test_head_of_images_and_of_what_can_only_be_posted_to(tmp_path: Path):
    service = FakeService(url_folder=tmp_path)
    url = ask(service, "POST", GENERATIONS, json={"prompt": "a"}).json()["data"][0]["url"]
    got, head = (ask(service, method, httpx.URL(url).path) for method in ("GET", "HEAD"))
    assert (head.status_code, head.headers["content-type"], head.content) == (200, "image/png", b"")
    assert int(head.headers["content-length"]) == len(got.content) > 0
    refused = ask(service, "HEAD", GENERATIONS)
    assert (refused.status_code, refused.headers["allow"], refused.content) == (405, "POST", b"")
    service.is_ready = False
    assert ask(service, "HEAD", "/ready").status_code == 503


@pytest.mark.parametrize("path", PAGES)
def test_slashes_too_many_mean_nothing(path: str):
    service, plain = FakeService(), ask(FakeService(), "GET", path)
    for spelled in (f"{path}/", path.replace("/", "//"), f"//{path}//"):
        if spelled.strip("/") or path == "/":
            reply = ask(service, "GET", f"http://service{spelled}")
            assert (reply.status_code, reply.content) == (plain.status_code, plain.content)
    for spelled in (f"{GENERATIONS}/", GENERATIONS.replace("/images", "//images")):
        assert ask(service, "POST", f"http://service{spelled}", json={"prompt": "a"}).status_code == 200


def test_slashes_in_a_name_are_part_of_it():
    for name in ("fake%2Fone%2F", "%2Ffake%2Fone", "fake%2F%2Fone", "%2F"):
        assert_envelope(ask(FakeService(), "GET", f"/v1/models/{name}"), 404, "model_not_found")


def test_below_a_prefix_slashes_mean_as_little():
    async def status(path: str) -> int:
        transport = httpx.ASGITransport(FakeService().api, root_path="/draw")
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as session:
            return (await session.get(f"http://service{path}")).status_code

    for path in ("/draw/", "/draw//", "/draw/health", "/draw//health/"):
        assert asyncio.run(status(path)) == 200, path


@pytest.mark.parametrize(
    "end", ["/images/generations", "/images/edits", "/images/variations", "/models", "/models/one"]
)
@pytest.mark.parametrize("begin", ["", "/api", "/v1/v1", "/openai/v1", "/openai/deployments/one", "/v2"])
def test_an_address_without_v1_is_told_the_right_one(begin: str, end: str):
    for method in ("GET", "POST", "PUT"):
        for slash in ("", "/"):
            reply = ask(FakeService(), method, f"{begin}{end}{slash}")
            assert_envelope(reply, 404, "not_found")
            assert f" /v1{end}: the base URL" in reply.json()["error"]["message"]
    assert b"/v1" not in ask(FakeService(), "GET", "/nope").content


def test_a_method_that_is_not_allowed_is_told_which_is():
    for method, path, allowed in (
        ("PUT", "/health", "GET"),
        ("GET", GENERATIONS, "POST"),
        ("DELETE", GENERATIONS, "POST"),
    ):
        reply = ask(FakeService(), method, path)
        assert_envelope(reply, 405, "method_not_allowed")
        assert reply.headers["allow"] == allowed and allowed in reply.json()["error"]["message"]
