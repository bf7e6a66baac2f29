"""The training loop that all three models share: step, log, save, resume.

A task brings a jittable step and a function that makes batch number i. A batch depends on (seed, i) alone, so a run
that was killed and resumed sees the same batches, and draws the same curve, as one that was not.
"""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from model_core.errors import CorruptCheckpoint
from model_core.files import write_atomically
from model_core.training import devices
from model_core.training.curves import LISTENERS, Curves, Metrics, as_numbers, means_of, shown
from model_core.training.signals import signals_kept
from model_core.training.speed import Speed
from model_core.weights.sharding import CutAxes

State = dict[str, Any]  # a tree of arrays, with `step` (int32) among them


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How long to train, how often to look up, and on how many devices each copy of the model lies."""

    steps: int
    seed: int = 0
    log_every: int = 50  # steps between looks at the metrics; each look waits for the device
    validate_every: int = 0  # steps between validations; one is made at the end, too. 0: none
    save_every_s: float = 300.0
    model_parallel: int = 1


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
    except (ValueError, KeyError, TypeError, AttributeError) as err:  # what flax raises on the wrong tree
        raise CorruptCheckpoint(f"{path} is not a state of this training run: {err}") from err
    if jax.tree.structure(state) != jax.tree.structure(like):
        raise CorruptCheckpoint(f"{path} is a state of another model or optimizer. Train in another folder.")
    for (key, want), got in zip(jax.tree_util.tree_leaves_with_path(like), jax.tree.leaves(state), strict=True):
        if np.shape(want) != np.shape(got):
            name = jax.tree_util.keystr(key)
            raise CorruptCheckpoint(f"{path}: {name} has shape {np.shape(got)}, this run needs {np.shape(want)}.")
    return jax.tree.map(jax.numpy.asarray, state)


def step_of(path: Path) -> int:
    """The step of a saved state, whatever model it is of. Raises CorruptCheckpoint where it is none."""
    try:
        return int(flax.serialization.msgpack_restore(path.read_bytes())["step"])
    except (ValueError, KeyError, TypeError) as err:
        raise CorruptCheckpoint(f"{path} is not a state of a training run: {err}") from err


def batches_ahead(make: Callable[[int], Any], first: int, last: int) -> Generator[Any, None, None]:
    """Yields make(first), …, make(last - 1), made by threads while the device is busy with those before.

    So many are made at a time as there are processors to spare, up to eight.
    """
    workers = min(8, max(1, (os.cpu_count() or 1) - 1))
    pending: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers, "batches") as pool:
        try:
            for i in range(first, last + workers):
                if i < last:
                    pending.append(pool.submit(make, i))
                if i >= first + workers:
                    yield pending.popleft().result()
        finally:
            for batch in pending:
                batch.cancel()


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
    on_save: Callable[[State], None] | None = None,
    validate: Callable[[State], Metrics] | None = None,
    cut_axes: CutAxes | None = None,
    row_flops: float = 0.0,
) -> State:
    """Trains from `folder`'s last saved state, or from `state`, to `config.steps`; returns the final state.

    Writes `state.msgpack` (atomically, beside the training; every `save_every_s` seconds, at the end, and on SIGTERM or
    Ctrl-C before it stops), one line a step to `metrics.jsonl`, which never says more than once what a step came to,
    and one a look to `speed.jsonl`. Where there are several devices, each takes its share of every batch, and of the
    arrays; where there are several processes, the first one keeps the curves, and a signal to any of them stops all
    after the same step.

    Args:
      step: (state, batch, key) -> (state, metrics); the loop counts `state["step"]` itself.
      on_save: called with the state, on the host, whenever it was time to save it, for pictures of progress.
      validate: gives metrics of a state that depend on nothing else; they join those of the step.
      cut_axes: how the parameters' arrays lie on `config.model_parallel` devices; None: whole on each.
      row_flops: the arithmetic of one row of a batch, for the MFU; 0: not known.

    Raises:
      CorruptCheckpoint: the folder holds the state of another run.
      InvalidValue: `model_parallel` does not divide the number of devices.
      KeyboardInterrupt: stopped by a signal; the state was saved.
    """
    path = folder / "state.msgpack"
    if path.exists():
        with devices.on_host():
            state = load_state(path, state)
        if int(state["step"]) >= config.steps:
            return state
    first, saved_at, kept = int(state["step"]), time.monotonic(), []
    place = devices.state_placer(state, cut_axes, config.model_parallel)
    state = place(state)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())

    def batch(i: int) -> Any:
        return make_batch(batch_rng(config.seed, i), i)

    with (
        signals_kept() as interrupted,
        contextlib.closing(batches_ahead(batch, first, config.steps)) as batches,
        contextlib.closing(Curves(folder, first)) if devices.is_first() else contextlib.nullcontext() as curves,
        _saving(path) as save,
        Progress(
            *columns, TimeRemainingColumn(), TextColumn("{task.fields[metrics]}"), disable=curves is None
        ) as progress,
    ):
        bar = progress.add_task(name, total=config.steps, completed=first, metrics="")
        speed = Speed(folder, row_flops)
        for i, made in enumerate(batches, first):
            key = jax.random.fold_in(jax.random.key(config.seed), i)
            state, metrics = step(state, devices.split(made, config.model_parallel), key)
            state["step"] = jax.numpy.int32(i + 1)
            state = place(state)
            is_last = i + 1 == config.steps
            is_to_validate = config.validate_every and ((i + 1) % config.validate_every == 0 or is_last)
            if validate and is_to_validate:
                metrics = metrics | validate(state)
            kept.append({"step": i + 1} | metrics)
            speed.count(made)
            progress.advance(bar)
            stop, is_due = devices.agree(interrupted(), time.monotonic() - saved_at > config.save_every_s)
            is_time_to_save = stop or is_due
            if (i + 1) % config.log_every == 0 or is_last or is_to_validate or is_time_to_save:
                lines, kept = as_numbers(kept), []
                means = means_of(lines) | speed.look(i + 1)
                if curves:
                    curves.write(lines, means)
                    progress.update(bar, metrics=shown(means))
                for listener in LISTENERS:
                    listener(folder, i + 1, means)
            if is_time_to_save:
                host = devices.gathered(state)
                save(host, wait=stop)
                saved_at = time.monotonic()
            if stop:
                progress.console.print(f"{name}: stopped after step {i + 1}; the same command goes on from there.")
                raise KeyboardInterrupt
            if is_time_to_save and on_save:
                on_save(host)
        save(devices.gathered(state), wait=True)
    return state


@contextlib.contextmanager
def _saving(path: Path) -> Iterator[Callable[..., None]]:
    """Saves states, which are on the host and the same in every process, once; on a thread unless told to wait."""
    with ThreadPoolExecutor(1, "save") as pool:
        pending: list[Future[None]] = []

        def save(state: State, *, wait: bool) -> None:
            if devices.is_first():
                for before in pending:
                    before.result()  # raises what it raised
                pending[:] = [pool.submit(save_state, path, state)]
            if wait:
                for now in pending:
                    now.result()
                devices.wait_for_all()

        yield save
