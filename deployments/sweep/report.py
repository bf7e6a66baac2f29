"""A sweep in two plots and a table: the curves of all trials, and what each learning rate came to."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from deployments.sweep.search import Sweep, Trial, winning_line

SMOOTH = 25  # steps of training over which a plotted loss is averaged, where there is no validation


def write_report(sweep: Sweep, trials: Sequence[Trial], out: Path) -> str:
    """Writes `curves.png`, `rates.png` and `sweep.json` into `out`; gives the line of the winner, the first trial."""
    line = winning_line(sweep, trials[0])
    told = [
        {"learning_rate": trial.rate, "steps": trial.reached, "loss": trial.loss if math.isfinite(trial.loss) else None}
        for trial in trials
    ]
    content = {"metric": sweep.metric, "winner": line, "trials": told}
    (out / "sweep.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _plot(sweep, trials, out)
    return line


def _plot(sweep: Sweep, trials: Sequence[Trial], out: Path) -> None:
    from matplotlib import colormaps, colors  # here, because it takes a second
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    scale, color = colors.LogNorm(sweep.lowest, sweep.highest), colormaps["viridis"]
    loss_label = f"{sweep.metric} (nats a code)"
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for trial in reversed(trials):  # the best on top
        axes.plot(*_columns(_smoothed(trial.curve)), color=color(scale(trial.rate)), linewidth=1.2, marker=".")
    axes.axvline(sweep.steps, color="0.8", linewidth=1)
    axes.set(xlabel="step", ylabel=loss_label, title="Constant learning rates after the warm-up")
    figure.colorbar(ScalarMappable(scale, color), ax=axes, label="learning rate")
    figure.savefig(out / "curves.png", dpi=120)

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for step in (sweep.steps, sweep.longer * sweep.steps):
        reached = sorted((trial.rate, dict(trial.curve)[step]) for trial in trials if step in dict(trial.curve))
        axes.plot(*_columns(reached), "o-", label=f"after {step} steps")
    stopped = [(trial.rate, trial.loss) for trial in trials if trial.reached < sweep.steps]
    axes.plot(*_columns(stopped), "x", color="0.6", label="stopped before")
    axes.set(xscale="log", xlim=(sweep.lowest, sweep.highest), xlabel="learning rate", ylabel=loss_label)
    axes.legend()
    figure.savefig(out / "rates.png", dpi=120)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The finite ones of some points, as what is across and what is up."""
    finite = [(across, up) for across, up in points if math.isfinite(up)]
    return [across for across, _ in finite], [up for _, up in finite]


def _smoothed(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Means of as many neighbours as a curve of every step needs; a curve of measurements stays as it is."""
    finite = [(step, loss) for step, loss in curve if math.isfinite(loss)]
    every_step = len(finite) > 4 * SMOOTH
    size = SMOOTH if every_step else 1
    return [
        (finite[end - 1][0], sum(loss for _, loss in finite[end - size : end]) / size)
        for end in range(size, len(finite) + 1, size)
    ]
