"""The sampler's policy on what real samplers reported, while `loadtest/autoscale.py` loaded them.

Each file of `recorded/` is one run's table, its columns about the sampler kept: seconds, busy slots, waiting images,
codes drawn so far, replicas. What the policy says does not change what was recorded, so this shows its decisions, not
their effect; test_autoscaling.py simulates that.
"""

import csv
import math
from collections import deque
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray.serve import autoscaling_policy
from ray.serve.autoscaling_policy import _apply_autoscaling_config  # what Serve puts around every policy
from ray.serve.config import AutoscalingConfig

from deployments.config import AppConfig, TokenSamplerConfig
from deployments.scaling.autoscaling import SamplerLoad, ScaleOnSlots
from deployments.telemetry.metrics import SlotCounts

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.csv"))
CODES_PER_IMAGE = 256
MANY_SLOTS = 1000


def settings() -> TokenSamplerConfig:
    """Those of the service that was recorded."""
    file = Path(__file__).parents[4] / "cluster/scaling.yaml"
    (application,) = yaml.safe_load(file.read_text())["applications"]
    return AppConfig.model_validate(application["args"]).models[0].token_sampler


def rows_of(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def replayed(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict[str, float]], list[int]]:
    """The rows of a run, and how many replicas the policy, in Serve's own delays and bounds, says at each."""
    sampler, rows = settings(), rows_of(path)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(autoscaling_policy, "time", SimpleNamespace(time=lambda: clock.now))
    options = sampler.deployment_options()["autoscaling_config"]
    config = AutoscalingConfig(**{name: value for name, value in options.items() if name != "policy"})
    decide = _apply_autoscaling_config(ScaleOnSlots(sampler.drain_s))
    load = SamplerLoad(CODES_PER_IMAGE, clock=lambda: clock.now)
    seen: deque[dict[str, float]] = deque(maxlen=round(sampler.look_back_period_s))
    state: dict[str, Any] = {}
    targets = [sampler.min_replicas]
    for row in rows:
        clock.now = row["seconds"]
        active, waiting, codes = (int(row[name]) for name in ("active", "waiting", "codes"))
        seen.append(load.stats(SlotCounts(slots=MANY_SLOTS, active=active, waiting=waiting, codes_drawn=codes)))
        means = {name: {"all": sum(one[name] for one in seen) / len(seen)} for name in seen[0]}
        context = SimpleNamespace(
            aggregated_metrics=means,
            total_queued_requests=0.0,
            total_num_requests=active + waiting,
            current_num_replicas=targets[-1],
            target_num_replicas=targets[-1],
            policy_state=state,
            config=config,
        )
        wanted, state = decide(context)
        targets.append(min(max(math.ceil(wanted), sampler.min_replicas), sampler.max_replicas))
    return rows, targets[1:]


def turns(targets: list[int]) -> int:
    """How often the number of replicas went the other way."""
    steps = [b - a for a, b in pairwise(targets) if a != b]
    return sum(a * b < 0 for a, b in pairwise(steps))


def test_there_are_recordings():
    assert RECORDED


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_load_is_followed_once_up_and_once_down(path: Path, monkeypatch: pytest.MonkeyPatch):
    rows, targets = replayed(path, monkeypatch)
    assert turns(targets) == 1
    assert targets[0] == targets[-1] == settings().min_replicas
    full = [target for row, target in zip(rows, targets, strict=True) if row["active"] >= 4 and row["waiting"] >= 10]
    # Four busy slots, and twelve waiting images of four seconds for ten: as much as 8.8 busy slots, 3 in each.
    assert max(full) == full[-1] == 3


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_replicas_that_are_coming_are_not_taken_away_before_they_are_there(path: Path, monkeypatch: pytest.MonkeyPatch):
    rows, targets = replayed(path, monkeypatch)
    busy = [second for second, row in enumerate(rows) if row["active"] or row["waiting"]]
    assert all(b >= a for a, b in pairwise(targets[: busy[-1] + 1]))
