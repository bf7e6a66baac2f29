"""Drawing over HTTP, against replies written by hand."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from deployments.cli import client
from deployments.cli.client import ServiceBusy, draw
from deployments.errors import RequestFailed


class Service:
    """Answers each request with the next of `replies`, and notes what was asked for."""

    def __init__(self, *replies: httpx.Response):
        self.replies = list(replies)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[httpx.Headers] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content))
        self.headers.append(request.headers)
        return self.replies.pop(0)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Service]:
    """Puts replies in front of every client that is made from now on; no second passes while it waits."""
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    plain = httpx.Client

    def answer(*replies: httpx.Response) -> Service:
        service = Service(*replies)
        monkeypatch.setattr(
            client.httpx, "Client", lambda **options: plain(transport=httpx.MockTransport(service), **options)
        )
        return service

    return answer


def stream(*events: dict[str, Any] | str) -> httpx.Response:
    lines = [event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n" for event in events]
    return httpx.Response(200, text="".join(lines), headers={"content-type": "text/event-stream"})


def preview(seed: int, progress: float) -> dict[str, Any]:
    return {"type": "image_generation.partial_image", "b64_json": "", "seed": seed, "progress": progress}


def completed(seed: int, content: bytes = b"x") -> dict[str, Any]:
    b64_json = base64.b64encode(content).decode()
    return {"type": "image_generation.completed", "b64_json": b64_json, "seed": seed, "clip_score": float(seed)}


def refusal(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": "it is so"}}, headers=headers)


def test_images_come_in_the_services_order_with_progress_before(serve: Callable[..., Service]):
    events = (": alive\n\n", preview(4, 0.5), preview(5, 0.25), preview(4, 0.75), completed(5), completed(4, b"y"))
    service = serve(stream(*events, "data: [DONE]\n\n"))
    seen: list[tuple[float, float]] = []
    drawn = draw(
        "http://there/", {"prompt": "x", "n": 2, "seed": None}, on_progress=lambda *so_far: seen.append(so_far)
    )
    assert [(image.seed, image.score, image.png) for image in drawn] == [(5, 5.0, b"x"), (4, 4.0, b"y")]
    assert seen == [(0.5, 2), (0.75, 2), (1.0, 2), (2, 2)]
    assert service.asked == [{"prompt": "x", "n": 2, "stream": True, "stream_multiple": True, "partial_images": 3}]
    assert "authorization" not in service.headers[0]


def test_a_warning_is_told_once(serve: Callable[..., Service]):
    serve(stream(*(completed(seed) | {"warning": "cut"} for seed in (1, 2))))
    told: list[str] = []
    draw("http://there", {"prompt": "x", "n": 2}, on_warning=told.append)
    assert told == ["cut"]


def test_a_key_is_sent(serve: Callable[..., Service]):
    service = serve(stream(completed(1)))
    draw("http://there", {"prompt": "x"}, api_key="secret")
    assert service.headers[0]["authorization"] == "Bearer secret"


def test_a_busy_service_is_asked_again_when_it_says_so(serve: Callable[..., Service]):
    serve(refusal(429, **{"retry-after": "2"}), refusal(503), stream(completed(1)))
    waits: list[str] = []
    assert draw("http://there", {"prompt": "x"}, on_wait=waits.append)[0].seed == 1
    assert len(waits) == 2 + client.WAIT_S
    assert waits[0].endswith("2 s")


def test_waiting_has_an_end(serve: Callable[..., Service]):
    serve(refusal(429, **{"retry-after": "61"}))
    with pytest.raises(ServiceBusy, match="it is so"):
        draw("http://there", {"prompt": "x"}, timeout_s=60)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (refusal(400), "refused: it is so"),
        (httpx.Response(502, text="<html>"), "502 Bad Gateway"),
        (stream({"error": {"message": "it is so"}}), "failed: it is so"),
        (stream(preview(1, 0.5)), "in the middle"),
        (stream("data: {\n\n"), "not as this service does"),
        (stream({"type": "image_generation.completed"}), "not as this service does"),
    ],
)
def test_what_goes_wrong_is_said(serve: Callable[..., Service], reply: httpx.Response, words: str):
    serve(reply)
    with pytest.raises(RequestFailed, match=words):
        draw("http://there", {"prompt": "x"})


def test_an_address_that_is_none_is_said():
    with pytest.raises(RequestFailed, match="No answer"):
        draw("not a url", {"prompt": "x"})
