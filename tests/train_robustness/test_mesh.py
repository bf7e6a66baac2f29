"""Two copies of a model, each cut over four devices, are one model on one device: the same losses and parameters.

The devices are eight parts of the CPU. The last state, saved from the mesh, is gone on with by one device.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.train_robustness import joint_task

pytestmark = pytest.mark.timeout(1500)


def train(folder: Path, devices: int, model_parallel: int) -> list[float]:
    """Trains in `folder` on so many devices; gives the losses."""
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, joint_task.__file__, str(folder), "nowhere", "1", "0", str(model_parallel)]
    subprocess.run(command, env=environment, check=True, timeout=1200)
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_times_four_devices_are_one(tmp_path: Path):
    one, eight = train(tmp_path / "one", 1, 1), train(tmp_path / "eight", 8, 4)
    assert len(one) == joint_task.STEPS
    np.testing.assert_allclose(eight, one, rtol=1e-5)
    with np.load(tmp_path / "one/params.npz") as alone, np.load(tmp_path / "eight/params.npz") as together:
        for name in alone.files:
            np.testing.assert_allclose(together[name], alone[name], rtol=1e-3, atol=1e-5)
    again = tmp_path / "again"  # whatever number of devices reads the state
    shutil.copytree(tmp_path / "eight", again)
    assert train(again, 1, 1) == eight
