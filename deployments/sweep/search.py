"""Learning rates tried side by side on Ray Tune, and the best of them trained longer.

Rates are drawn log-uniformly. ASHA (arXiv:1810.05934) stops those that are behind others after as many steps. The rate
is constant after its warm-up, so that a trial that trains on is the same trial, and what two reached after as many
steps compares. A loss that is not finite is the worst there is, and ends its trial. Each trial is a run of `dalle-serve
train sampler` in a folder of its own, from one run's model and on one data set.
"""

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_core.errors import InvalidValue

WORST = 1e9  # in place of a loss that is not finite
LOOKS = 8  # measurements of a trial
HALVING = 4  # of so many trials that came to a rung, one goes on
WARM_UP = "warm_up_steps="
CONSTANT = ("schedule=constant", "schedule_from=0")


class Diverged(Exception):
    """The loss of a trial is not finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What is tried.

    Attributes:
      data: the data set, best encoded once for all.
      run: whose model's codec and tokenizer count, and whose start every trial has.
      lowest, highest: learning rates to draw between.
      steps: of a trial that is not stopped; `longer` times as many of the `best`.
      settings: further `--set` values.
      validate: data sets to measure on; without one the loss of training counts, which is noisier.
      parallel: trials at a time.
      gpus: for each trial.
    """

    data: Path
    run: Path
    preset: str
    lowest: float
    highest: float
    trials: int
    steps: int
    longer: int = 4
    best: int = 4
    settings: tuple[str, ...] = ()
    validate: tuple[Path, ...] = ()
    parallel: int = 1
    gpus: float = 0.0
    seed: int = 0

    @property
    def metric(self) -> str:
        """What the curve calls the loss that counts."""
        return f"loss_{self.validate[0].resolve().name}" if self.validate else "loss"

    @property
    def first_look(self) -> int:
        """The step at which trials are measured, and compared, for the first time."""
        return max(1, self.steps // LOOKS)

    @property
    def recipe(self) -> tuple[str, ...]:
        """The `--set` values of all trials; where none says how long the rate rises, half of the first look."""
        return (f"{WARM_UP}{self.first_look // 2}", *self.settings)

    @property
    def warm_up(self) -> int:
        """Steps over which a trial's rate rises."""
        return int([value for value in self.recipe if value.startswith(WARM_UP)][-1].removeprefix(WARM_UP))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One learning rate and where it came to: (step, loss) pairs in order."""

    rate: float
    folder: Path
    curve: tuple[tuple[int, float], ...]

    @property
    def loss(self) -> float:
        """The last one; infinite where it diverged or nothing was measured."""
        return self.curve[-1][1] if self.curve else math.inf

    @property
    def reached(self) -> int:
        return self.curve[-1][0] if self.curve else 0


def check(sweep: Sweep) -> None:
    """Raises InvalidValue where the numbers make no sense, or there is no model to begin with."""
    if not 0 < sweep.lowest < sweep.highest:
        raise InvalidValue(f"learning rates must be 0 < LOWEST < HIGHEST; got {sweep.lowest}:{sweep.highest}.", "lr")
    if min(sweep.trials, sweep.steps, sweep.longer, sweep.best, sweep.parallel) < 1:
        raise InvalidValue("trials, steps, longer, best and parallel must be at least 1.")
    if not (sweep.run / "model").is_dir():
        raise InvalidValue(
            f"{sweep.run} holds no model yet: `dalle-serve train start MODEL --run {sweep.run}`, or `train codec`.",
            "run",
        )
    if not sweep.warm_up < sweep.first_look:
        raise InvalidValue(
            f"trials are compared after {sweep.first_look} steps for the first time, when their rates still rise, for "
            f"{sweep.warm_up}: ask for more steps, or for fewer by --set warm_up_steps=….",
            "warm_up_steps",
        )


def search(sweep: Sweep, out: Path, told: Callable[[str], Any]) -> list[Trial]:
    """Tries all rates, then trains the best longer; Ray runs already. Gives the trials, best first.

    Args:
      out: one folder for each trial, `trials/RATE`, and Tune's own notes.
      told: is shown a line for each phase.

    Raises:
      InvalidValue: as `check`; or every trial diverged.
    """
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.basic_variant import BasicVariantGenerator

    check(sweep)
    told(f"{sweep.trials} learning rates from {sweep.lowest:g} to {sweep.highest:g}, up to {sweep.steps} steps each")
    halving = ASHAScheduler(
        time_attr="step",
        metric="loss",
        mode="min",
        max_t=sweep.steps,
        grace_period=sweep.first_look,
        reduction_factor=HALVING,
        stop_last_trials=False,  # they end by themselves, and save their state to be trained on
    )
    drawn = BasicVariantGenerator(random_state=sweep.seed, max_concurrent=sweep.parallel)
    rates = {"learning_rate": tune.loguniform(sweep.lowest, sweep.highest), "steps": sweep.steps}
    _tune(sweep, out, "search", rates, {"num_samples": sweep.trials, "scheduler": halving, "search_alg": drawn})
    best = ranked(read_trials(sweep, out))[: sweep.best]
    if math.isinf(best[0].loss):
        raise InvalidValue(f"no trial between {sweep.lowest:g} and {sweep.highest:g} has a finite loss.", "lr")
    told(f"the best {len(best)} of them for {sweep.longer * sweep.steps} steps")
    rates = {"learning_rate": tune.grid_search([trial.rate for trial in best]), "steps": sweep.longer * sweep.steps}
    _tune(sweep, out, "longer", rates, {"search_alg": BasicVariantGenerator(max_concurrent=sweep.parallel)})
    return ranked(read_trials(sweep, out))


def _tune(sweep: Sweep, out: Path, name: str, space: dict[str, Any], config: dict[str, Any]) -> None:
    from ray import tune

    def run(drawn: dict[str, Any]) -> None:
        from ray import tune

        def report(step: int, loss: float) -> None:
            tune.report({"step": step, "loss": loss})

        run_trial(sweep, out, drawn["learning_rate"], drawn["steps"], report)

    cpus = max(1.0, (os.cpu_count() or 1) / sweep.parallel)
    tune.Tuner(
        tune.with_resources(run, {"cpu": cpus, "gpu": sweep.gpus}),
        param_space=space,
        tune_config=tune.TuneConfig(**config),
        run_config=tune.RunConfig(name=name, storage_path=str(out.resolve() / "tune"), verbose=0),
    ).fit()


def run_trial(sweep: Sweep, out: Path, rate: float, steps: int, report: Callable[[int, float], None]) -> None:
    """Trains one trial to so many steps, or on to them; reports the losses that it has, then others as they come."""
    from model_core.training import curves
    from model_core.training.cli import app

    folder = folder_of(out, rate)
    begin(sweep.run, folder)
    (folder / "rate.json").write_text(json.dumps(rate), encoding="utf-8")
    told = 0

    def tell(step: int, loss: float) -> None:
        nonlocal told
        if step <= told:  # trained again from a state before it
            return
        told = step
        report(step, loss if math.isfinite(loss) else WORST)
        if not math.isfinite(loss):
            raise Diverged

    def listen(_folder: Path, step: int, means: dict[str, float]) -> None:
        if sweep.metric in means:
            tell(step, means[sweep.metric])

    curves.LISTENERS[:] = [listen]
    with suppress(Diverged):
        for step, loss in _curve(folder, sweep.metric):
            if step <= steps:
                tell(step, loss)
        app(["sampler", *arguments(sweep, folder, rate, steps)], standalone_mode=False)


def arguments(sweep: Sweep, folder: Path, rate: float, steps: int) -> list[str]:
    """Of `dalle-serve train sampler` for a trial."""
    looks = f"validate_every={sweep.first_look}"
    chosen = [*sweep.recipe, *CONSTANT, looks, f"learning_rate={rate!r}", f"steps={steps}"]
    told = ["--data", str(sweep.data), "--run", str(folder), "--preset", sweep.preset]
    return [
        *told,
        *(part for value in chosen for part in ("--set", value)),
        *(part for data in sweep.validate for part in ("--validate", str(data))),
    ]


def winning_line(sweep: Sweep, trial: Trial) -> str:
    """The settings to train with."""
    chosen = [*sweep.recipe, CONSTANT[0], f"learning_rate={trial.rate:.4g}"]
    return " ".join(f"--set {value}" for value in chosen)


def folder_of(out: Path, rate: float) -> Path:
    """Of a trial, by its learning rate."""
    return out.resolve() / "trials" / f"{rate:.6e}"


def begin(run: Path, folder: Path) -> None:
    """Gives a trial what the run begins with, unless it has it; on one disk its files are the same ones."""
    for part in ("start", "model"):
        if (run / part).is_dir() and not (folder / part).exists():
            unfinished = folder / f".{part}"
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(run / part, unfinished, copy_function=_linked)
            unfinished.rename(folder / part)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def read_trials(sweep: Sweep, out: Path) -> list[Trial]:
    """What the trials' folders say."""
    return [
        Trial(
            rate=json.loads((folder / "rate.json").read_text(encoding="utf-8")),
            folder=folder,
            curve=_curve(folder, sweep.metric),
        )
        for folder in sorted((out / "trials").iterdir())
        if (folder / "rate.json").is_file()
    ]


def _curve(trial: Path, metric: str) -> tuple[tuple[int, float], ...]:
    path = trial / "dalle_bart" / "metrics.jsonl"
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines()) if path.exists() else ()
    found = ((line["step"], line[metric]) for line in lines if metric in line)
    return tuple((step, loss if math.isfinite(loss) else math.inf) for step, loss in found)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Those that came furthest first, by their loss; those that diverged last."""
    return sorted(trials, key=lambda trial: (math.isinf(trial.loss), -trial.reached, trial.loss))
