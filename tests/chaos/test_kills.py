"""`kill -9` of each process while clients draw: nothing that was accepted is lost, and nothing is changed."""

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from deployments.local import LocalService
from tests.chaos.clients import PATIENCE_S, Load, Sketchbook
from tests.serve.conftest import kill
from tests.serve.processes import replica

KILLS = int(os.environ.get("CHAOS_KILLS", "2"))
STAGES = ("text_encoder", "token_sampler", "image_decoder", "clip_scorer")
ENDS = ("gateway", "ProxyActor")  # where a client's own connection ends


def living(process: str) -> int:
    """The process, once it is there: the service may go on before what was killed is back."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return replica(process)
        except ValueError:  # none, or the old one beside the new
            assert time.monotonic() < deadline, f"{process} is not back"
            time.sleep(0.2)  # between looks, until the deadline


def disturb(service: LocalService, sketchbook: Sketchbook, process: str) -> dict[str, Any]:
    """Kills a process under load, again and again; says what the clients saw."""
    recoveries = []
    with Load(service.url) as load:
        load.wait_for_answers(4)
        for _ in range(KILLS):
            kill(living(process))
            killed = time.monotonic()
            recoveries.append(load.wait_for_answers(1, begun_after=killed) - killed)
            load.wait_for_answers(6, begun_after=killed)
    unlike = [answer.seed for answer in load.answers if answer.picture != sketchbook[answer.seed]]
    assert not unlike
    breaks = Counter(why for answer in load.answers for why in answer.breaks)
    return {
        "killed": process,
        "kills": KILLS,
        "requests": len(load.answers),
        "requests_broken": sum(bool(answer.breaks) for answer in load.answers),
        "broken": breaks,
        "longest_until_broken_s": round(max(answer.break_s for answer in load.answers), 2),
        "recovered_s": [round(seconds, 1) for seconds in recoveries],
        "longest_s": round(max(answer.seconds for answer in load.answers), 1),
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_dies_costs_time_and_nothing_else(
    stage: str, service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]
):
    seen = disturb(service, sketchbook, stage)
    note(**seen)
    assert not seen["broken"]


@pytest.mark.parametrize("end", ENDS)
def test_where_the_connections_end_dies_clients_hear_at_once_and_ask_again(
    end: str, service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]
):
    seen = disturb(service, sketchbook, end)
    note(**seen)
    assert seen["broken"]
    assert seen["longest_until_broken_s"] < seen["longest_s"] + 1


def test_without_its_controller_the_service_goes_on(
    service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]
):
    seen = disturb(service, sketchbook, "ServeController")
    note(**seen)
    assert not seen["broken"]
