"""A sweep without Ray: what a trial is told, what it begins with, which trials are best, and the two plots."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from deployments.sweep import search
from deployments.sweep.report import write_report
from deployments.sweep.search import WORST, Sweep, Trial, arguments, begin, check, folder_of, ranked, read_trials
from model_core.errors import InvalidValue
from model_core.training import cli, curves


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    run = tmp_path / "base"
    (run / "model" / "vqgan").mkdir(parents=True)
    (run / "model" / "vqgan" / "weights").write_text("codec")
    return Sweep(
        data=tmp_path / "data",
        run=run,
        preset="smoke",
        lowest=1e-4,
        highest=1e-2,
        trials=4,
        steps=80,
        settings=("batch_size=8",),
        validate=(tmp_path / "held-out",),
    )


def trial(rate: float, *curve: tuple[int, float]) -> Trial:
    return Trial(rate=rate, folder=Path("nowhere"), curve=curve)


def test_a_trial_is_a_run_of_its_own_at_a_constant_rate(sweep: Sweep, tmp_path: Path):
    told = arguments(sweep, tmp_path / "trial", 3e-4, 320)
    values = {value for name, value in pairwise(told) if name == "--set"}
    assert values == {
        "warm_up_steps=5",
        "batch_size=8",
        "schedule=constant",
        "schedule_from=0",
        "validate_every=10",
        "learning_rate=0.0003",
        "steps=320",
    }
    assert told[told.index("--validate") + 1] == str(tmp_path / "held-out")
    assert folder_of(tmp_path, 3e-4) != folder_of(tmp_path, 3.00001e-4)


def test_a_trial_begins_with_the_runs_model_and_never_changes_it(sweep: Sweep, tmp_path: Path):
    begin(sweep.run, tmp_path / "trial")
    weights = tmp_path / "trial" / "model" / "vqgan" / "weights"
    assert weights.read_text() == "codec"
    replacement = weights.with_name("new")
    replacement.write_text("trained")
    replacement.replace(weights)  # as weights are written
    begin(sweep.run, tmp_path / "trial")
    assert weights.read_text() == "trained"
    assert (sweep.run / "model" / "vqgan" / "weights").read_text() == "codec"


def test_losses_are_reported_as_they_come_and_one_that_is_not_finite_ends_the_trial(sweep, tmp_path, monkeypatch):
    told: list[tuple[int, float]] = []
    losses = {10: 3.0, 15: None, 20: 2.0, 30: math.nan, 40: 1.0}

    def train(_arguments: list[str], standalone_mode: bool) -> None:
        for step, loss in losses.items():
            for listener in curves.LISTENERS:
                listener(tmp_path, step, {} if loss is None else {sweep.metric: loss})

    monkeypatch.setattr(cli, "app", train)
    search.run_trial(sweep, tmp_path, 3e-4, 80, lambda step, loss: told.append((step, loss)))
    curves.LISTENERS.clear()
    assert told == [(10, 3.0), (20, 2.0), (30, WORST)]


def test_a_trial_that_goes_on_reports_first_what_it_has(sweep: Sweep, tmp_path: Path, monkeypatch):
    """Tune has forgotten it, and takes a trial that reports nothing for a broken one."""
    folder = folder_of(tmp_path, 3e-4) / "dalle_bart"
    folder.mkdir(parents=True)
    lines = [{"step": step, sweep.metric: 5.0 - step / 10} for step in (10, 20, 30)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told: list[tuple[int, float]] = []

    def train(_arguments: list[str], standalone_mode: bool) -> None:
        for step in (20, 30, 40):  # its last state was before the end of its curve
            for listener in curves.LISTENERS:
                listener(tmp_path, step, {sweep.metric: 1.0})

    monkeypatch.setattr(cli, "app", train)
    search.run_trial(sweep, tmp_path, 3e-4, 80, lambda step, loss: told.append((step, loss)))
    curves.LISTENERS.clear()
    assert told == [(10, 4.0), (20, 3.0), (30, 2.0), (40, 1.0)]


def test_trials_are_read_from_their_folders(sweep: Sweep, tmp_path: Path):
    folder = folder_of(tmp_path, 3e-4) / "dalle_bart"
    folder.mkdir(parents=True)
    (folder.parent / "rate.json").write_text("0.0003")
    lines = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0, sweep.metric: 4.5}, {"step": 3, sweep.metric: math.nan}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "trials" / "unfinished").mkdir()
    (found,) = read_trials(sweep, tmp_path)
    assert (found.rate, found.curve) == (3e-4, ((2, 4.5), (3, math.inf)))


def test_the_best_came_furthest_and_those_that_diverged_are_last():
    far, near, stopped, diverged = (
        trial(1e-3, (80, 2.0)),
        trial(2e-3, (80, 2.5)),
        trial(3e-3, (20, 1.0)),
        trial(4e-3, (20, 3.0), (80, math.inf)),
    )
    assert ranked([diverged, stopped, near, far]) == [far, near, stopped, diverged]
    assert trial(1e-3).loss == math.inf


def test_a_report_is_two_plots_and_the_winners_line(sweep: Sweep, tmp_path: Path):
    trials = [
        trial(1.234e-3, (40, 3.0), (80, 2.0), (320, 1.0)),
        trial(4e-4, (40, 3.5), (80, 2.5)),
        trial(9e-4, (40, 3.2)),
        trial(9e-3, (40, math.inf)),
        trial(8e-3),
    ]
    line = write_report(sweep, trials, tmp_path)
    assert line == "--set warm_up_steps=5 --set batch_size=8 --set schedule=constant --set learning_rate=0.001234"
    content = json.loads((tmp_path / "sweep.json").read_text())
    assert (content["winner"], content["metric"]) == (line, "loss_held-out")
    assert [told["loss"] for told in content["trials"]] == [1.0, 2.5, 3.2, None, None]
    for name in ("curves.png", "rates.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lowest": 0.0}, "must be 0 < LOWEST < HIGHEST"),
        ({"lowest": 1e-2}, "must be 0 < LOWEST < HIGHEST"),
        ({"trials": 0}, "must be at least 1"),
        ({"run": Path("nowhere")}, "nowhere holds no model yet"),
        ({"settings": ("warm_up_steps=10",)}, "after 10 steps for the first time, when their rates still rise"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(sweep: Sweep, changes: dict, message: str):
    with pytest.raises(InvalidValue, match=message):
        check(replace(sweep, **changes))
