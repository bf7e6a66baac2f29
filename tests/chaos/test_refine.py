"""The refiner: killed in the middle it goes on from its last state, and who draws beside it does not notice."""

import base64
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from deployments.local import LocalService
from tests.chaos.clients import GENERATIONS, NO_STORE, PATIENCE_S, fields_of
from tests.serve.conftest import kill
from tests.serve.processes import replica

STEPS = int(os.environ.get("CHAOS_STEPS", "400"))
DRAWINGS = int(os.environ.get("CHAOS_DRAWINGS", "40"))  # timed without refinements, and as many beside them


def refine(url: str, seed: int, on_preview: Callable[[dict[str, Any]], object] = lambda event: None) -> bytes:
    """Streams a refinement from noise; gives the picture."""
    fields = {"prompt": "an avocado", "model": "tiny:refine", "start": "noise", "steps": STEPS, "seed": seed}
    fields |= {"stream": True, "partial_images": 3}
    with (
        httpx.Client(base_url=url, timeout=2 * PATIENCE_S, headers=NO_STORE) as http,
        http.stream("POST", GENERATIONS, json=fields) as reply,
    ):
        assert reply.status_code == 200
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            assert "error" not in event, event
            if event["type"].endswith("completed"):
                return base64.b64decode(event["b64_json"])
            on_preview(event)
    raise AssertionError("the stream ended early")


def test_killed_in_the_middle_it_goes_on_from_its_last_state(service: LocalService, note: Callable[..., None]):
    refine(service.url, 6)  # there is a replica now
    began = time.monotonic()
    undisturbed = refine(service.url, 7)
    alone_s = time.monotonic() - began
    shown: list[float] = []

    def kill_once(event: dict[str, Any]) -> None:
        shown.append(event["progress"])
        if len(shown) == 2:
            kill(replica("refiner"))

    began = time.monotonic()
    disturbed = refine(service.url, 7, kill_once)
    note(steps=STEPS, alone_s=round(alone_s, 1), killed_at=shown[1], disturbed_s=round(time.monotonic() - began, 1))
    assert disturbed == undisturbed  # to the last bit of the file
    assert shown == sorted(shown) and len(shown) == 3  # nothing is shown twice, and nothing left out


def test_drawing_does_not_wait_for_two_refinements(service: LocalService, note: Callable[..., None]):
    def drawn() -> list[float]:
        seconds = []
        with httpx.Client(base_url=service.url, timeout=PATIENCE_S, headers=NO_STORE) as http:
            for seed in range(DRAWINGS):
                began = time.monotonic()
                http.post(GENERATIONS, json=fields_of(seed)).raise_for_status()
                seconds.append(time.monotonic() - began)
        return seconds

    drawn()  # warm
    alone = drawn()
    ended = [False]

    def refine_on(seed: int) -> None:
        while not ended[0]:
            refine(service.url, seed)

    threads = [threading.Thread(target=refine_on, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    time.sleep(2)  # both are being refined
    beside = drawn()
    ended[0] = True
    for thread in threads:
        thread.join(2 * PATIENCE_S)
        assert not thread.is_alive()
    p95 = {name: statistics.quantiles(each, n=20)[-1] for name, each in (("alone", alone), ("beside", beside))}
    p50 = {name: statistics.median(each) for name, each in (("alone", alone), ("beside", beside))}
    ratios = {"p50_ratio": round(p50["beside"] / p50["alone"], 2), "p95_ratio": round(p95["beside"] / p95["alone"], 2)}
    note(drawings=DRAWINGS, p50_s=p50, p95_s=p95, **ratios)
    assert max(beside) < PATIENCE_S / 4  # a refinement of hundreds of steps was not waited for
