"""A run that is killed again and again, at any moment, draws the curve of one that was not."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.model_core.training import loop_task
from tests.unit.model_core.training.loop_task import STEPS, run

KILLS = 6
pytestmark = pytest.mark.timeout(1500)


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, loop_task.__file__, str(folder), "always-saving"])


def lines(folder: Path) -> int:
    curve = folder / "metrics.jsonl"
    return len(curve.read_text().splitlines()) if curve.exists() else 0


def test_a_run_killed_at_random_moments_is_the_run_that_was_not(tmp_path: Path):
    run(tmp_path / "whole")
    rng, killed = random.Random(0), tmp_path / "killed"
    for _ in range(KILLS):
        process = start(killed)
        try:
            before, deadline = lines(killed), time.monotonic() + 300
            while lines(killed) <= before and process.poll() is None:
                assert time.monotonic() < deadline, "the run does not go on"
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.4))  # a step takes 0.2 s, a save some milliseconds of it
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert 0 < lines(killed) <= STEPS
    assert start(killed).wait(timeout=300) == 0
    for name in ("metrics.jsonl", "state.msgpack"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
