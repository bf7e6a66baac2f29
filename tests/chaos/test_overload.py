"""Far more is asked for than can be drawn: who was let in is served in time, the others hear when to come back."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

import httpx
import psutil
import pytest

from deployments.config import AppConfig
from deployments.local import LocalService
from tests.chaos.clients import GENERATIONS, IMAGES, NO_STORE, PATIENCE_S, SEEDS, Load, Sketchbook, fields_of
from tests.serve.processes import replica

TIMES_CAPACITY = 5
SLOWER = 3  # than before is too much, whatever else the machine does
SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))


def memory_mb() -> float:
    return round(psutil.Process(replica("gateway")).memory_info().rss / 2**20, 1)


def capacity(url: str) -> float:
    """Images a second, of as many users as keep every slot busy."""
    with Load(url, json_users=8, stream_users=0) as load:
        load.wait_for_answers(8)
        began, before = time.monotonic(), len(load.answers)
        time.sleep(SECONDS / 3)
        drawn, seconds = len(load.answers) - before, time.monotonic() - began
    return IMAGES * drawn / seconds


async def flood(url: str, rate: float, seconds: float) -> list[tuple[int, float, str | None]]:
    """Requests at random moments, whatever has become of the earlier ones; status, seconds, retry-after of each."""
    found = []

    async def ask(http: httpx.AsyncClient) -> None:
        began = time.monotonic()
        try:
            reply = await http.post(GENERATIONS, json=fields_of(random.choice(SEEDS)))
            found.append((reply.status_code, time.monotonic() - began, reply.headers.get("retry-after")))
        except httpx.TransportError:
            found.append((0, time.monotonic() - began, None))

    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, headers=NO_STORE, limits=limits) as http,
        asyncio.TaskGroup() as group,
    ):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            group.create_task(ask(http))
            await asyncio.sleep(random.expovariate(rate))
    return found


def typical_seconds(url: str, sketchbook: Sketchbook) -> float:
    """The median time of every seed's picture, drawn one after another; each is looked at."""
    found = []
    with httpx.Client(base_url=url, timeout=PATIENCE_S, headers=NO_STORE) as http:
        for seed, picture in sketchbook.items():
            began = time.monotonic()
            reply = http.post(GENERATIONS, json=fields_of(seed))
            found.append(time.monotonic() - began)
            assert reply.status_code == 200 and reply.json()["data"][0]["b64_json"] == picture
    return median(found)


@pytest.fixture(scope="module")
def before_s(service: LocalService, sketchbook: Sketchbook) -> float:
    """How long a picture takes before there is too much to do."""
    return typical_seconds(service.url, sketchbook)


def test_overload_slows_nobody_who_was_let_in(
    service: LocalService, config: AppConfig, before_s: float, note: Callable[..., None]
):
    peak = capacity(service.url)
    before_mb = memory_mb()
    began = time.monotonic()
    answers = asyncio.run(flood(service.url, TIMES_CAPACITY * peak / IMAGES, SECONDS))
    took = time.monotonic() - began
    drawn = [seconds for status, seconds, _ in answers if status == 200]
    statuses = Counter(status for status, _, _ in answers)
    p99 = quantiles(drawn, n=100)[98]
    full_queue_s = config.gateway.max_pending_images / peak
    note(
        images_a_request=IMAGES,
        capacity_images_per_s=round(peak, 2),
        asked_times_capacity=TIMES_CAPACITY,
        seconds=SECONDS,
        statuses={str(status): count for status, count in statuses.items()},
        goodput_of_capacity=round(IMAGES * len(drawn) / took / peak, 2),
        accepted_p99_s=round(p99, 1),
        full_queue_s=round(full_queue_s, 1),
        gateway_mb=[before_mb, memory_mb()],
    )
    assert statuses.keys() <= {200, 429}
    assert statuses[429]
    assert all(1 <= int(after or 0) <= 120 for status, _, after in answers if status == 429)
    assert p99 < 2 * full_queue_s + 5  # as long as a full queue takes to draw, and as much again for a busy machine


def test_afterwards_the_service_is_as_before(
    service: LocalService, sketchbook: Sketchbook, before_s: float, note: Callable[..., None]
):
    """The same requests, of one client, before and after."""
    ready: dict[str, Any] = httpx.get(f"{service.url}/ready", timeout=60).json()
    assert ready["ready"] and ready["pending_images"] == 0
    after_s = typical_seconds(service.url, sketchbook)
    note(before_s=round(before_s, 3), after_s=round(after_s, 3), peak_after=round(capacity(service.url), 2))
    assert after_s < SLOWER * before_s
