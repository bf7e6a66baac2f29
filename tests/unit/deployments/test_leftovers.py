"""What a killed process leaves behind, played by small processes with the marks of Ray's."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deployments.leftovers import end_leftovers, find_leftovers

PATIENCE_S = 60.0
# A parent that has the watcher started, then an agent that outlives it; says who they are, and waits.
PARENT = """
import os, subprocess, sys, time
from pathlib import Path
from deployments.leftovers import watch
watcher = watch(os.getpid())
folder = Path(sys.argv[1]) / f"session_2026_{os.getpid()}" / "logs"
folder.mkdir(parents=True)
sleep = "import sys, time; file = open(sys.argv[1], 'w'); print(); time.sleep(600)"
agent = subprocess.Popen([sys.executable, "-c", sleep, str(folder / "agent.log")], stdout=subprocess.PIPE)
agent.stdout.readline()
print(watcher.pid, agent.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[psutil.Popen]:
    """A process with a log of a session of process 12345 open, and nothing of it in its title."""
    folder = tmp_path / "session_2026-11-30_06-15-59_452096_12345" / "logs"
    folder.mkdir(parents=True)
    program = "import time; file = open('agent.log', 'w'); print(flush=True); time.sleep(600)"
    with psutil.Popen([sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_process_is_known_by_its_open_log(agent: psutil.Popen):
    assert [process.pid for process in find_leftovers(12345)] == [agent.pid]
    assert find_leftovers(2345) == find_leftovers(123) == find_leftovers(agent.pid) == []


def test_a_process_is_known_by_its_command_line(tmp_path: Path):
    program = [sys.executable, "-c", "import time; time.sleep(600)", f"--session-dir={tmp_path}/session_2026_12345"]
    with subprocess.Popen(program) as process:
        assert [found.pid for found in find_leftovers(12345)] == [process.pid]
        assert end_leftovers(12345, grace_s=0) == []
        assert process.wait(PATIENCE_S) == -signal.SIGKILL


def test_what_ends_by_itself_is_not_killed(agent: psutil.Popen):
    agent.terminate()
    assert end_leftovers(12345, grace_s=PATIENCE_S, timeout_s=PATIENCE_S) == []
    assert agent.wait(PATIENCE_S) == -signal.SIGTERM


def test_nothing_outlives_a_process_that_is_killed(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        watcher, agent = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
        parent.kill()
        parent.wait(PATIENCE_S)
    for process in (agent, watcher):
        deadline = time.monotonic() + PATIENCE_S
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"{process} is left"
            time.sleep(0.05)
