"""Half an hour of ordinary use, with clients that leave: nothing grows. `make soak` runs it."""

import asyncio
import os
import time
from collections.abc import Callable
from statistics import median

import psutil
import pytest

from deployments.local import LocalService
from tests.chaos.clients import Load, Sketchbook
from tests.chaos.test_kills import STAGES
from tests.chaos.test_leaving import leave_in_the_middle
from tests.serve.processes import descendants

MINUTES = float(os.environ.get("SOAK_MINUTES", "0"))
PERIOD_S = 30.0
PROCESSES = (*STAGES, "gateway", "ProxyActor", "ServeController")
LEAVERS = 20  # in each period
PAUSE_S = 1.0  # of each of the users after a picture


def held() -> dict[str, tuple[int, int, float]]:
    """Open files, threads and megabytes of each process of the service, by what it is."""
    found = {}
    for pid, command in descendants(os.getpid()).items():
        for name in PROCESSES:
            if command.startswith("ray::") and name in command:
                process = psutil.Process(pid)
                found[name] = (process.num_fds(), process.num_threads(), process.memory_info().rss / 2**20)
    return found


@pytest.mark.skipif(not MINUTES, reason="make soak runs it")
@pytest.mark.timeout(MINUTES * 60 + 1200)
def test_nothing_grows(service: LocalService, sketchbook: Sketchbook, note: Callable[..., None]):
    samples = []
    end = time.monotonic() + 60 * MINUTES
    with Load(service.url, pause_s=PAUSE_S) as load:
        while time.monotonic() < end:
            asyncio.run(leave_in_the_middle(service.url, LEAVERS))
            time.sleep(PERIOD_S)
            samples.append(held())
    assert all(answer.picture == sketchbook[answer.seed] for answer in load.answers)
    assert not [why for answer in load.answers for why in answer.breaks]
    assert samples[-1].keys() == set(PROCESSES)
    half = len(samples) // 2
    growth = {}
    for name in samples[-1]:
        middle, late = (
            [sample[name] for sample in part if name in sample] for part in (samples[: half + 1], samples[half:])
        )
        growth[name] = [
            round(median(x) - median(y), 1)
            for x, y in zip(zip(*late, strict=True), zip(*middle, strict=True), strict=True)
        ]
    note(minutes=MINUTES, requests=len(load.answers), growth_files_threads_mb=growth, at_the_end=samples[-1])
    for files, threads, megabytes in growth.values():
        assert files <= 10 and threads <= 5 and megabytes <= 30
