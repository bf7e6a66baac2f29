"""What training measured, step by step: `metrics.jsonl`, and TensorBoard's files where tensorboardX is installed.

A step has one line, however often it was repeated after a kill.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from model_core.files import write_atomically

CURVE = "metrics.jsonl"
Metrics = dict[str, Any]


class Curves:
    """The curves of one run, from `first` steps on; call `close` at the end."""

    def __init__(self, folder: Path, first: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / CURVE
        _forget_after(self._path, first)
        self._board = _board(folder / "tensorboard", first)

    def write(self, kept: list[Metrics]) -> str:
        """Writes the metrics of some steps (each with its `step`); gives their means, to be shown."""
        kept = jax.device_get(kept)
        lines = [{key: float(value) if key != "step" else value for key, value in metrics.items()} for metrics in kept]
        with self._path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        names = [key for key in lines[-1] if key != "step"]
        means = {name: float(np.mean([line[name] for line in lines if name in line])) for name in names}
        for name, mean in means.items() if self._board else ():
            self._board.add_scalar(name, mean, lines[-1]["step"])
        return " ".join(f"{name} {mean:.4g}" for name, mean in means.items())

    def close(self) -> None:
        """Ends TensorBoard's files."""
        if self._board:
            self._board.close()


def _board(folder: Path, first: int) -> Any:
    """TensorBoard's writer; it hides what a killed run wrote after step `first`. None where it is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first + 1)


def _forget_after(path: Path, step: int) -> None:
    """Drops what a killed run wrote of steps that are to be repeated."""
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        if len(kept) < len(lines):
            write_atomically(path, "".join(kept).encode())
