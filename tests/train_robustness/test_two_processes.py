"""Two processes that train together are one process with the joint batch: the same losses, the same parameters."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.train_robustness import joint_task

pytestmark = pytest.mark.timeout(1500)
TIMEOUT_S = 1200


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def train(folder: Path, processes: int) -> list[float]:
    """Trains in `folder` with so many processes; gives the losses."""
    coordinator = f"127.0.0.1:{free_port()}"
    command = [sys.executable, joint_task.__file__, str(folder), coordinator, str(processes)]
    running = [subprocess.Popen([*command, str(index)]) for index in range(processes)]
    try:
        assert [process.wait(timeout=TIMEOUT_S) for process in running] == [0] * processes
    finally:
        for process in running:
            process.kill()
            process.wait()
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_are_one_with_the_joint_batch(tmp_path: Path):
    one, two = (train(tmp_path / str(number), number) for number in (1, 2))
    assert len(one) == joint_task.STEPS
    np.testing.assert_allclose(two, one, rtol=1e-5)
    with np.load(tmp_path / "1/params.npz") as alone, np.load(tmp_path / "2/params.npz") as together:
        assert alone.files == together.files
        for name in alone.files:
            np.testing.assert_allclose(together[name], alone[name], rtol=1e-4, atol=1e-6)
