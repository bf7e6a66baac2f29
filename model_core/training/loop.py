"""The training loop that all three models share: step, log, save, resume.

Knows nothing of models or losses: a task brings a jittable step and a function that makes batch number i. A batch
depends on (seed, i) alone, so a run that was killed and resumed sees the same batches, and draws the same curve, as one
that was not.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from model_core.errors import CorruptCheckpoint

State = dict[str, Any]  # a tree of arrays, with `step` (int32) among them
Metrics = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How long to train and how often to look up."""

    steps: int
    seed: int = 0
    log_every: int = 50  # steps
    save_every_s: float = 300.0


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces `path` in one move, so that a kill at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def save_state(path: Path, state: State) -> None:
    """Writes a whole training state (parameters, optimizer, step) as msgpack."""
    write_atomically(path, flax.serialization.to_bytes(jax.device_get(state)))


def load_state(path: Path, like: State) -> State:
    """Reads what `save_state` wrote, into the structure of `like`.

    Raises:
      CorruptCheckpoint: the file is truncated or belongs to another model or optimizer.
    """
    try:
        state = flax.serialization.from_bytes(like, path.read_bytes())
    except (ValueError, KeyError, TypeError) as err:
        raise CorruptCheckpoint(f"{path} is not a state of this training run: {err}") from err
    for (key, want), got in zip(jax.tree_util.tree_leaves_with_path(like), jax.tree.leaves(state), strict=True):
        if np.shape(want) != np.shape(got):
            name = jax.tree_util.keystr(key)
            raise CorruptCheckpoint(f"{path}: {name} has shape {np.shape(got)}, this run needs {np.shape(want)}.")
    return jax.tree.map(jax.numpy.asarray, state)


def batch_rng(seed: int, step: int) -> np.random.Generator:
    """The generator that makes batch number `step`."""
    return np.random.default_rng([seed, step])


def train(
    folder: Path,
    config: LoopConfig,
    state: State,
    make_batch: Callable[[np.random.Generator, int], Any],
    step: Callable[[State, Any, jax.Array], tuple[State, Metrics]],
    *,
    name: str,
    on_log: Callable[[State], None] | None = None,
) -> State:
    """Trains from `folder`'s last saved state, or from `state`, to `config.steps`; returns the final state.

    Writes `state.msgpack` (atomically; every `save_every_s` seconds, at the end, and on SIGTERM or Ctrl-C before it
    stops) and one line of means a `log_every` steps to `metrics.jsonl`.

    Args:
      make_batch: (generator, step) -> batch.
      step: (state, batch, key) -> (state, metrics); the loop counts `state["step"]` itself.
      name: what the progress bar says.
      on_log: called with the state after every log line, for pictures of progress.

    Raises:
      CorruptCheckpoint: the folder holds the state of another run.
      KeyboardInterrupt: stopped by a signal; the state was saved.
    """
    path = folder / "state.msgpack"
    if path.exists():
        state = load_state(path, state)
    interrupted = _catch_signals()
    first, saved_at, kept = int(state["step"]), time.monotonic(), []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[metrics]}")) as progress:
        bar = progress.add_task(name, total=config.steps, completed=first, metrics="")
        for i in range(first, config.steps):
            key = jax.random.fold_in(jax.random.key(config.seed), i)
            state, metrics = step(state, make_batch(batch_rng(config.seed, i), i), key)
            state["step"] = jax.numpy.int32(i + 1)
            kept.append(metrics)
            progress.advance(bar)
            if (i + 1) % config.log_every == 0 or i + 1 == config.steps:
                line = _write_metrics(folder / "metrics.jsonl", i + 1, kept)
                kept = []
                progress.update(bar, metrics=" ".join(f"{k} {v:.4g}" for k, v in line.items() if k != "step"))
                if on_log:
                    on_log(state)
            if interrupted() or time.monotonic() - saved_at > config.save_every_s:
                save_state(path, state)
                saved_at = time.monotonic()
            if interrupted():
                raise KeyboardInterrupt(f"{name}: stopped at step {i + 1}, saved in {folder}.")
    save_state(path, state)
    return state


def _write_metrics(path: Path, step: int, kept: list[Metrics]) -> dict[str, float]:
    """Appends the means of `kept` to a JSON-lines file."""
    kept = jax.device_get(kept)
    line = {"step": step} | {key: float(np.mean([metrics[key] for metrics in kept])) for key in kept[0]}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return line


def _catch_signals() -> Callable[[], bool]:
    """Turns SIGTERM and SIGINT into a question; a second one is obeyed at once."""
    received: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return lambda: bool(received)
