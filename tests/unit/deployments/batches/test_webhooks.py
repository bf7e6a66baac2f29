import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import ValidationError

from deployments.batches.queue import Webhook
from deployments.batches.webhooks import Webhooks
from deployments.config import BatchesConfig
from model_core.errors import DalleServeError, InvalidValue

SECRET = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


class Receiver(HTTPServer):
    """Keeps what it hears, and answers with `status`."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard.append((dict(self.headers.items()), body))
        self.send_response(self.server.status)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    return str(file)


def test_what_is_sent_is_what_openais_client_takes(receiver: Receiver, secret: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which would not reach this machine
    webhooks = Webhooks(BatchesConfig(webhook_origins=[receiver.origin], webhook_secret_file=secret))
    webhook = Webhook("batch_0123", f"{receiver.origin}/told?a=b", "completed", 17)
    assert asyncio.run(webhooks.send(webhook)) and asyncio.run(webhooks.send(webhook))
    (headers, body), (headers_again, _) = receiver.heard
    with openai.OpenAI(api_key="none", webhook_secret=SECRET) as client:
        event = client.webhooks.unwrap(body, headers)
        assert (event.type, event.data.id, event.created_at) == ("batch.completed", "batch_0123", 17)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(body.replace(b"0123", b"0124"), headers)
    assert headers["webhook-id"] == headers_again["webhook-id"]
    assert json.loads(body)["id"] == headers["webhook-id"]


@pytest.mark.parametrize("status", [302, 400, 500])
def test_only_a_success_counts_and_nobody_is_sent_elsewhere(receiver: Receiver, secret: str, status: int):
    receiver.status = status
    webhooks = Webhooks(BatchesConfig(webhook_origins=[receiver.origin], webhook_secret_file=secret))
    assert not asyncio.run(webhooks.send(Webhook("batch_1", f"{receiver.origin}/", "failed", 17)))
    assert len(receiver.heard) == 1


def test_who_does_not_answer_or_is_not_allowed_any_more_is_not_told(secret: str):
    webhooks = Webhooks(BatchesConfig(webhook_origins=["http://127.0.0.1:9"], webhook_secret_file=secret))
    for url in ("http://127.0.0.1:9/", "http://127.0.0.1:10/"):
        assert not asyncio.run(webhooks.send(Webhook("batch_1", url, "completed", 17)))


def test_only_what_the_operator_allows(secret: str):
    webhooks = Webhooks(BatchesConfig(webhook_origins=["https://hooks.example.com"], webhook_secret_file=secret))
    assert webhooks.check("HTTPS://Hooks.example.com/a?b=c")
    for url in (
        "http://hooks.example.com/",
        "https://hooks.example.com:8443/",
        "https://hooks.example.com.evil.org/",
        "https://hooks.example.com@evil.org/",
        "https://evil.org/https://hooks.example.com",
        "https://[",
        "",
        "https://hooks.example.com/\n",
        "https://hooks.example.com/" + "x" * 3000,
    ):
        with pytest.raises(InvalidValue, match="must begin with one of: https://hooks") as raised:
            webhooks.check(url)
        assert raised.value.param == "webhook_url"
    with pytest.raises(InvalidValue, match="nobody is told of batches here"):
        Webhooks(BatchesConfig()).check("https://hooks.example.com")


@pytest.mark.parametrize("content", [None, "", "whsec_", "whsec_c2hvcnQ=", SECRET.removeprefix("whsec_"), "whsec_???"])
def test_a_secret_that_is_none_is_told_without_showing_it(tmp_path: Path, content: str | None):
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DalleServeError, match="secret") as raised:
        Webhooks(BatchesConfig(webhook_secret_file=str(file)))
    assert not content or len(content) < 8 or content not in str(raised.value)


def test_origins_need_a_secret_and_are_no_more_than_origins():
    with pytest.raises(ValidationError, match="needs webhook_secret_file"):
        BatchesConfig(webhook_origins=["https://a.example"])
    for origin in ("a.example", "ftp://a.example", "https://a.example/path", "https://me@a.example"):
        with pytest.raises(ValidationError, match="pattern"):
            BatchesConfig(webhook_origins=[origin], webhook_secret_file="x")
