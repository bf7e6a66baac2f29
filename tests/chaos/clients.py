"""Clients that ask for pictures by seed, and know what each should look like.

A client whose connection breaks, or that meets a 5xx, asks again with the same seed, as a client of the service should.
"""

import base64
import json
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

GENERATIONS = "/v1/images/generations"
SEEDS = range(100, 112)
IMAGES = int(os.environ.get("CHAOS_IMAGES", "1"))  # in each request; the first of them is looked at
PATIENCE_S = 180.0
RETRY_PAUSE_S = 0.5


NO_STORE = {"cache-control": "no-store"}  # each picture is to be drawn


def fields_of(seed: int) -> dict[str, Any]:
    return {"prompt": "an avocado", "seed": seed, "n": IMAGES}


class Sketchbook(dict[int, str]):
    """The picture of each seed, drawn undisturbed."""

    @classmethod
    def draw(cls, url: str) -> Self:
        with httpx.Client(base_url=url, timeout=PATIENCE_S, headers=NO_STORE) as http:
            replies = {seed: http.post(GENERATIONS, json=fields_of(seed)) for seed in SEEDS}
        return cls({seed: reply.raise_for_status().json()["data"][0]["b64_json"] for seed, reply in replies.items()})


@dataclass
class Answer:
    """How one request ended, all its attempts together.

    Attributes:
      picture: what came, or None.
      breaks: why earlier attempts ended: `connection`, or a status.
      break_s: how long the longest of them took to say so.
    """

    seed: int
    kind: str
    began: float
    ended: float = 0.0
    picture: str | None = None
    previews: list[int] = field(default_factory=list)
    refusals: int = 0
    breaks: list[str] = field(default_factory=list)
    break_s: float = 0.0

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Load:
    """So many users of each kind, one request after another, from entering to leaving the block.

    Each rests for `pause_s` after a picture.
    """

    def __init__(self, url: str, *, json_users: int = 2, stream_users: int = 2, pause_s: float = 0.0):
        self.url = url
        self._pause_s = pause_s
        self.answers: list[Answer] = []
        self._stopping = threading.Event()
        kinds = ["json"] * json_users + ["stream"] * stream_users
        self._threads = [threading.Thread(target=self._use, args=(kind, place)) for place, kind in enumerate(kinds)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)
            assert not thread.is_alive(), "a client hangs"

    def wait_for_answers(self, count: int, *, begun_after: float = 0.0) -> float:
        """Waits until so many pictures of requests begun after some time are there; gives the time of the last."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            ends = sorted(
                answer.ended for answer in list(self.answers) if answer.picture and answer.began > begun_after
            )
            if len(ends) >= count:
                return ends[count - 1]
            assert time.monotonic() < deadline, f"only {len(ends)} of {count} pictures came"
            time.sleep(0.05)

    def _use(self, kind: str, place: int) -> None:
        turn = 0
        with httpx.Client(base_url=self.url, timeout=PATIENCE_S, headers=NO_STORE) as http:
            while not self._stopping.is_set():
                answer = Answer(seed=SEEDS[(5 * place + turn) % len(SEEDS)], kind=kind, began=time.monotonic())
                self._ask_until_answered(http, answer)
                answer.ended = time.monotonic()
                self.answers.append(answer)
                turn += 1
                self._stopping.wait(self._pause_s)

    def _ask_until_answered(self, http: httpx.Client, answer: Answer) -> None:
        while answer.picture is None and time.monotonic() < answer.began + PATIENCE_S:
            began = time.monotonic()
            try:
                status = stream(http, answer) if answer.kind == "stream" else draw(http, answer)
            except httpx.TransportError:
                status = "connection"
            if status == "200":
                return
            if status == "429":
                answer.refusals += 1
            else:
                answer.breaks.append(status)
                answer.break_s = max(answer.break_s, time.monotonic() - began)
            time.sleep(RETRY_PAUSE_S)


def draw(http: httpx.Client, answer: Answer) -> str:
    reply = http.post(GENERATIONS, json=fields_of(answer.seed))
    if reply.status_code == 200:
        answer.picture = reply.json()["data"][0]["b64_json"]
    return str(reply.status_code)


def stream(http: httpx.Client, answer: Answer) -> str:
    """Reads a stream; its previews must come in order, once each, before the picture."""
    answer.previews = []
    with http.stream("POST", GENERATIONS, json=fields_of(answer.seed) | {"stream": True, "partial_images": 3}) as reply:
        if reply.status_code != 200:
            reply.read()
            return str(reply.status_code)
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                return event["error"]["code"]
            assert answer.picture is None, "an event after the last"
            if event["type"] == "image_generation.completed":
                answer.picture = event["b64_json"]
            else:
                answer.previews.append(event["partial_image_index"])
                assert base64.b64decode(event["b64_json"]).startswith(b"\x89PNG")
    assert answer.previews == sorted(set(answer.previews)), f"previews out of order: {answer.previews}"
    return "200" if answer.picture else "ended early"
