"""The training loop: a run that was stopped and resumed is the run that was not; broken states are named."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import CorruptCheckpoint, InvalidValue
from model_core.training import clip, optimizers
from model_core.training.codecs import step as codec_step
from model_core.training.codecs.recipes import VQGANRecipe
from model_core.training.loop import batches_ahead, load_state, save_state
from model_core.training.recipe import SequenceRecipe
from model_core.training.signals import signals_kept
from tests.unit.model_core.training import loop_task
from tests.unit.model_core.training.loop_task import STEPS, initial_state, make_batch, run


def curve(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Killed(Exception):
    """Stands for a kill that leaves no time to save."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(folder)
    return folder


@settings(deadline=None)
@given(first=st.integers(0, 5), count=st.integers(0, 30))
def test_batches_come_in_order_each_once(first, count):
    made: list[int] = []
    assert list(batches_ahead(lambda i: made.append(i) or i, first, first + count)) == list(range(first, first + count))
    assert sorted(made) == list(range(first, first + count))


def test_no_more_batches_are_made_once_nobody_wants_them():
    made: list[int] = []
    batches = batches_ahead(lambda i: made.append(i) or i, 0, 1000)
    assert next(batches) == 0
    batches.close()
    assert len(made) < 100


def test_a_batch_that_cannot_be_made_raises_in_its_turn():
    def make(i: int) -> int:
        if i == 2:
            raise ValueError("no such picture")
        return i

    batches = batches_ahead(make, 0, 4)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(ValueError, match="no such picture"):
        next(batches)


def test_every_step_has_one_line_in_the_curve(uninterrupted: Path):
    assert [line["step"] for line in curve(uninterrupted)] == list(range(1, STEPS + 1))
    assert all(line["loss"] > 0 for line in curve(uninterrupted))


@settings(max_examples=8, deadline=None)
@given(stop_at=st.integers(1, STEPS - 1), number=st.sampled_from([signal.SIGTERM, signal.SIGINT]))
def test_a_run_stopped_by_a_signal_goes_on_as_if_it_had_not_been(tmp_path_factory, uninterrupted, stop_at, number):
    folder = tmp_path_factory.mktemp("stopped")

    def stopping_step(state, batch, key):
        if int(state["step"]) + 1 == stop_at:
            os.kill(os.getpid(), number)
        return loop_task.step(state, batch, key)

    with pytest.raises(KeyboardInterrupt):
        run(folder, step=stopping_step)
    assert curve(folder)[-1]["step"] == stop_at
    assert int(load_state(folder / "state.msgpack", initial_state())["step"]) == stop_at
    run(folder)
    assert curve(folder) == curve(uninterrupted)
    assert (folder / "state.msgpack").read_bytes() == (uninterrupted / "state.msgpack").read_bytes()


@pytest.mark.parametrize("killed_at", [2, 7, 11])
def test_a_run_killed_between_saves_repeats_steps_but_not_lines(tmp_path, uninterrupted, killed_at):
    def deadly_batch(rng: np.random.Generator, i: int) -> np.ndarray:
        if i == killed_at:
            raise Killed
        return make_batch(rng, i)

    run(tmp_path, steps=1)  # the last state saved is that of step 1, whatever is logged later
    with pytest.raises(Killed):
        run(tmp_path, log_every=1, make_batch=deadly_batch)
    assert curve(tmp_path)[-1]["step"] == killed_at
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "lo')  # and one line was only half written
    run(tmp_path)
    assert curve(tmp_path) == curve(uninterrupted)


def test_a_process_that_is_terminated_saves_and_resumes(tmp_path: Path, uninterrupted: Path):
    """The same by a real SIGTERM to a real process, which ends by itself."""
    process = subprocess.Popen([sys.executable, loop_task.__file__, str(tmp_path)])
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "metrics.jsonl").exists():
            assert process.poll() is None and time.monotonic() < deadline, "the run has not begun"
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
        process.wait()
    assert 0 < len(curve(tmp_path)) < STEPS
    run(tmp_path)
    assert curve(tmp_path) == curve(uninterrupted)


def test_a_finished_run_is_left_as_it_is(uninterrupted: Path):
    before = curve(uninterrupted)
    state = run(uninterrupted, make_batch=lambda rng, i: pytest.fail("nothing is left to train"))
    assert int(state["step"]) == STEPS
    assert curve(uninterrupted) == before


def test_signals_mean_again_what_they_meant_before(tmp_path: Path):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    run(tmp_path, steps=1)
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_signal_that_came_while_the_model_was_loaded_stops_it_after_one_step(tmp_path: Path):
    with signals_kept():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert len(curve(tmp_path)) == 1


@given(cut=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_truncated_state_is_refused_by_name(uninterrupted: Path, cut: int):
    whole = (uninterrupted / "state.msgpack").read_bytes()
    path = uninterrupted.parent / "truncated.msgpack"
    path.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(CorruptCheckpoint, match=r"truncated\.msgpack"):
        load_state(path, initial_state())


@pytest.mark.parametrize(
    "other",
    [
        {"step": jnp.int32(0), "params": {"w": jnp.zeros(4)}},
        {"step": jnp.int32(0), "params": {"v": jnp.zeros(3)}},
        {"step": jnp.int32(0), "params": jnp.zeros(3)},
        {"step": jnp.int32(0), "params": {"w": jnp.zeros(3)}, "ema": {"w": jnp.zeros(3)}},
    ],
)
def test_the_state_of_another_model_is_refused(uninterrupted: Path, other: dict):
    with pytest.raises(CorruptCheckpoint, match=r"state\.msgpack"):
        load_state(uninterrupted / "state.msgpack", other)


@pytest.mark.parametrize("content", [b"", b"\x05", b"\xc0", b"not a state", b"\x81\xa1a\x01"])
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "state.msgpack").write_bytes(content)
    with pytest.raises(CorruptCheckpoint):
        load_state(tmp_path / "state.msgpack", initial_state())


def test_a_reader_never_sees_half_of_a_state(tmp_path: Path):
    """While one thread replaces a state again and again, every read finds a whole one."""
    path = tmp_path / "state.msgpack"
    like = {"step": jnp.int32(0), "w": jnp.zeros(200_000)}
    save_state(path, like)
    done = threading.Event()

    def write() -> None:
        for i in range(1, 30):
            save_state(path, {"step": jnp.int32(i), "w": jnp.full(200_000, float(i))})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        state = load_state(path, like)
        assert np.unique(np.asarray(state["w"])).tolist() == [float(state["step"])]
    writer.join()
    assert [file.name for file in tmp_path.iterdir()] == ["state.msgpack"]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda **values: clip.optimizer(clip.CLIPRecipe(**values)),
        lambda **values: optimizers.optimizer(SequenceRecipe(**values)),
        lambda **values: codec_step.optimizer(VQGANRecipe(**values)),
    ],
)
def test_a_warm_up_as_long_as_the_training_is_refused(optimizer):
    optimizer(steps=3, warm_up_steps=2)
    with pytest.raises(InvalidValue, match=r"warm_up_steps must be less than steps \(3\); got 3"):
        optimizer(steps=3, warm_up_steps=3)
