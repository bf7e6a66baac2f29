"""What training measured, step by step: `metrics.jsonl`, and for those who look on, means at every look.

A step has one line, however often it was repeated after a kill. The means go to TensorBoard's files where tensorboardX
is installed, to Weights & Biases where WANDB_PROJECT names a project, and to `LISTENERS`.
"""

import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import numpy as np

from model_core.errors import InvalidValue
from model_core.files import write_atomically

CURVE = "metrics.jsonl"
Metrics = dict[str, Any]
Listener = Callable[[Path, int, dict[str, float]], None]  # the run's folder, the step, the means

# Told the means at every look, in every process; what they raise ends the training. For those who run it.
LISTENERS: list[Listener] = []


def as_numbers(kept: list[Metrics]) -> list[Metrics]:
    """The metrics of some steps, each with its `step`, as Python's numbers."""
    return [
        {key: float(value) if key != "step" else int(value) for key, value in metrics.items()}
        for metrics in jax.device_get(kept)
    ]


def means_of(lines: list[Metrics]) -> dict[str, float]:
    """The mean of each metric over those steps that have it."""
    names = dict.fromkeys(key for line in lines for key in line if key != "step")
    return {name: float(np.mean([line[name] for line in lines if name in line])) for name in names}


def shown(means: dict[str, float]) -> str:
    """Means in one line."""
    return " ".join(f"{name} {mean:.4g}" for name, mean in means.items())


class Curves:
    """The curves of one run, from `first` steps on; call `close` at the end."""

    def __init__(self, folder: Path, first: int):
        """Raises InvalidValue where Weights & Biases is asked for and not installed."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / CURVE
        _forget_after(self._path, first)
        self._board = _board(folder / "tensorboard", first)
        self._wandb = _wandb(folder)

    def write(self, lines: list[Metrics], means: dict[str, float]) -> None:
        """Writes the metrics of some steps, as `as_numbers` gives them, and what those who look on are shown."""
        step = lines[-1]["step"]
        with self._path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        for name, mean in means.items() if self._board else ():
            self._board.add_scalar(name, mean, step)
        if self._wandb:
            self._wandb.log(means, step=step)

    def close(self) -> None:
        """Ends TensorBoard's files, and the run of Weights & Biases."""
        if self._board:
            self._board.close()
        if self._wandb:
            self._wandb.finish()


def _board(folder: Path, first: int) -> Any:
    """TensorBoard's writer; it hides what a killed run wrote after step `first`. None where it is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first + 1)


def _wandb(folder: Path) -> Any:
    """The run of the folder's name in the project WANDB_PROJECT, gone on with where it is there; None without one."""
    if not os.environ.get("WANDB_PROJECT"):
        return None
    try:
        wandb = import_module("wandb")
    except ImportError as error:
        raise InvalidValue(
            "WANDB_PROJECT is set, and wandb is not installed: pip install wandb, or unset it."
        ) from error
    name = "-".join(folder.resolve().parts[-2:])
    return wandb.init(id=name, name=name, resume="allow", dir=str(folder))


def _forget_after(path: Path, step: int) -> None:
    """Drops what a killed run wrote of steps that are to be repeated."""
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        if len(kept) < len(lines):
            write_atomically(path, "".join(kept).encode())
