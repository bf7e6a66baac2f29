"""Training on a Ray cluster is training: the curve of two workers is that of one process.

The two "GPUs" are names for shares of the CPU, so that Ray Train takes the way that it takes on real ones.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.timeout(900)
ROOT = Path(__file__).parents[2]
PATIENCE_S = 400
STEPS = 6
ON_A_CLUSTER = """
import ray, runpy
ray.init(num_cpus=2, num_gpus=2, include_dashboard=False)
runpy.run_path({job!r}, run_name="__main__")
"""


def run(arguments: list[str], home: Path) -> None:
    environment = os.environ | {
        "HOME": str(home),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
    }
    subprocess.run([sys.executable, *arguments], env=environment, cwd=home, check=True, timeout=PATIENCE_S)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "vqgan/metrics.jsonl").read_text().splitlines()]


def test_two_workers_of_a_ray_cluster_are_one_process(tmp_path: Path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(256, size=(16, 16, 3), dtype=np.uint8)).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(f"picture {number}")
    command, data = ["-c", "from deployments.cli.main import app; app()", "train"], str(tmp_path / "data")
    run([*command, "data", "folder", str(pictures), data, "--size", "16"], tmp_path)
    recipe = ["--set", f"steps={STEPS}", "--set", "warm_up_steps=2"]
    job = ["vqgan", "--data", data, "--preset", "smoke", *recipe, "--run"]
    run([*command, *job, str(tmp_path / "one")], tmp_path)
    on_ray = ["--workers", "2", "--storage", str(tmp_path / "notes"), *job, str(tmp_path / "two")]
    run(["-c", ON_A_CLUSTER.format(job=str(ROOT / "cluster/train_job.py")), *on_ray], tmp_path)
    assert len(losses(tmp_path / "one")) == STEPS
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-4)
