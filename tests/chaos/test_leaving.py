"""Clients that leave in the middle, or read slowly, take nothing from others and leave nothing behind."""

import asyncio
import os
import time
from collections.abc import Callable

import httpx
import psutil
from ray import serve

from deployments.config import APP_NAME
from deployments.local import LocalService
from tests.chaos.clients import GENERATIONS, NO_STORE, PATIENCE_S, Load, Sketchbook, fields_of
from tests.serve.processes import replica

LEAVERS = int(os.environ.get("CHAOS_LEAVERS", "200"))
AT_A_TIME = 20


def sampler_load() -> dict[str, float]:
    """Busy slots and waiting images, as the sampler tells its autoscaler."""
    handle = serve.get_deployment_handle("tiny.token_sampler", APP_NAME)
    return handle.record_autoscaling_stats.remote().result(timeout_s=60)


def held_by(deployment: str) -> dict[str, int]:
    process = psutil.Process(replica(deployment))
    return {"files": process.num_fds(), "threads": process.num_threads(), "mb": process.memory_info().rss // 2**20}


async def leave_in_the_middle(url: str, leavers: int = LEAVERS) -> None:
    """So many clients ask for a stream or for images, and hang up a moment later."""
    window = asyncio.Semaphore(AT_A_TIME)

    async def ask_and_leave(http: httpx.AsyncClient, place: int) -> None:
        fields = fields_of(place) | ({"stream": True, "partial_images": 3} if place % 2 else {"n": 2})
        async with window:
            try:
                async with (
                    asyncio.timeout(0.05 + 0.01 * (place % 20)),
                    http.stream("POST", GENERATIONS, json=fields) as reply,
                ):
                    async for _ in reply.aiter_bytes():
                        pass
            except (TimeoutError, httpx.TransportError):
                pass

    async with (
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, headers=NO_STORE) as http,
        asyncio.TaskGroup() as group,
    ):
        for place in range(leavers):
            group.create_task(ask_and_leave(http, place))


def test_who_leaves_frees_slots_and_memory(service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]):
    asyncio.run(leave_in_the_middle(service.url))  # once for what is made on first use and kept
    before = {name: held_by(name) for name in ("gateway", "token_sampler")}
    asyncio.run(leave_in_the_middle(service.url))
    left = time.monotonic()
    deadline = left + PATIENCE_S
    while httpx.get(f"{service.url}/ready", timeout=60).json()["pending_images"] or sampler_load()["active_slots"]:
        assert time.monotonic() < deadline, "slots are held for clients that left"
        time.sleep(0.1)
    free_s = time.monotonic() - left
    load = sampler_load()
    assert (load["active_slots"], load["waiting_images"]) == (0, 0)

    def is_as_before(name: str) -> bool:
        held, once = held_by(name), before[name]
        few = held["files"] <= once["files"] + 10 and held["threads"] <= once["threads"] + 10
        return few and held["mb"] <= once["mb"] * 1.2 + 20

    while not all(map(is_as_before, before)) and time.monotonic() < deadline:
        time.sleep(0.1)  # sockets are closed a moment later
    after = {name: held_by(name) for name in before}
    note(leavers=LEAVERS, all_free_after_s=round(free_s, 1), before=before, after=after)
    assert all(map(is_as_before, before))


def test_a_slow_reader_holds_up_nobody(service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]):
    seed = next(iter(sketchbook))
    fields = fields_of(seed) | {"stream": True, "partial_images": 3}
    with (
        httpx.Client(base_url=service.url, timeout=PATIENCE_S, headers=NO_STORE) as http,
        http.stream("POST", GENERATIONS, json=fields) as slow,
    ):
        assert slow.status_code == 200
        with Load(service.url) as load:
            load.wait_for_answers(8)
        assert all(answer.picture == sketchbook[answer.seed] for answer in load.answers)
        lines = [line for line in slow.iter_lines() if line.startswith("data: {")]
    assert sketchbook[seed] in lines[-1]
    note(drawn_meanwhile=len(load.answers))
