"""The service is told to stop while clients draw: who is in is served, who comes is sent away.

Ends the service that it uses, so it runs in a process of its own: `make chaos` sees to that. How the command answers
signals is looked at in services of their own.
"""

import threading
import time
from collections.abc import Callable

import httpx

from deployments.local import LocalService
from tests.chaos.clients import GENERATIONS, NO_STORE, PATIENCE_S, Answer, Sketchbook, draw, fields_of, stream

USERS = 6


def test_what_was_accepted_is_drawn_before_the_end(
    service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]
):
    answers = [Answer(seed=seed, kind="", began=time.monotonic()) for seed in list(sketchbook)[:USERS]]
    statuses: list[str] = []

    def ask(answer: Answer, how: Callable[[httpx.Client, Answer], str]) -> None:
        with httpx.Client(base_url=service.url, timeout=PATIENCE_S, headers=NO_STORE) as http:
            statuses.append(how(http, answer))

    users = [threading.Thread(target=ask, args=(answer, (draw, stream)[i % 2])) for i, answer in enumerate(answers)]
    for user in users:
        user.start()
    while httpx.get(f"{service.url}/ready", timeout=60).json()["pending_images"] < USERS:
        assert not statuses, "they were drawn too soon to stop them"
    late: list[tuple[int, str]] = []
    stopping = threading.Event()

    def come_late() -> None:
        with httpx.Client(base_url=service.url, timeout=PATIENCE_S, headers=NO_STORE) as http:
            while not stopping.wait(0.1):
                try:
                    reply = http.post(GENERATIONS, json=fields_of(0))
                except httpx.TransportError:  # nobody listens any more
                    return
                if reply.status_code != 200:
                    late.append((reply.status_code, reply.json()["error"]["code"]))

    latecomer = threading.Thread(target=come_late)
    latecomer.start()
    began = time.monotonic()
    service.stop()
    stopped_s = time.monotonic() - began
    stopping.set()
    for thread in (*users, latecomer):
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    note(accepted=USERS, statuses=statuses, late=len(late), stopped_s=round(stopped_s, 1))
    assert statuses == ["200"] * USERS
    assert all(answer.picture == sketchbook[answer.seed] for answer in answers)
    assert late and late[0] == (503, "shutting_down")
