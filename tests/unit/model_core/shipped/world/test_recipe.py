"""Chunks of the recipe, with stages that only say that they were called."""

import os
import signal
import time
from pathlib import Path

import pytest

from model_core.errors import InvalidValue
from model_core.shipped.world import recipe
from model_core.shipped.world.recipe import CPU, run_chunk, with_changes
from model_core.training.signals import signals_kept
from tests.unit.model_core.shipped.world.things_made_here import sprites

STAGES = ["train_vqgan", "encode", "train_decoder", "train_dalle_bart", "train_clip", "export"]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    for stage in STAGES:
        monkeypatch.setattr(recipe.stages, stage, lambda *_, stage=stage: names.append(stage))
    monkeypatch.setattr(recipe, "start_from", lambda *_: names.append("start"))
    return names


def until_stopped(*_: object) -> None:
    """A stage that has no end, and asks as all do."""
    deadline = time.monotonic() + 60
    with signals_kept() as interrupted:
        while time.monotonic() < deadline:
            if interrupted():
                raise KeyboardInterrupt
            time.sleep(0.001)  # no event tells of signals that are kept
    pytest.fail("nothing stopped it")


def test_stages_come_in_order_after_the_start(tmp_path: Path, called: list[str]):
    assert run_chunk(tmp_path / "run", sprites(), CPU, minutes=0)
    assert called == ["start", *STAGES]


def test_a_run_that_is_there_is_gone_on_with(tmp_path: Path, called: list[str]):
    assert run_chunk(tmp_path, sprites(), CPU, minutes=10)
    assert called == STAGES


def test_the_clock_stops_a_chunk_in_any_stage(tmp_path: Path, called: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipe.stages, "encode", until_stopped)
    before = signal.getsignal(signal.SIGTERM)
    assert not run_chunk(tmp_path, sprites(), CPU, minutes=0.005)
    assert called == ["train_vqgan"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_from_outside_does_too(tmp_path: Path, called: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipe.stages, "train_vqgan", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(recipe.stages, "encode", until_stopped)
    assert not run_chunk(tmp_path, sprites(), CPU, minutes=0)
    assert called == []


def test_values_of_each_stage_can_be_changed():
    changed = with_changes(CPU, ["vqgan.steps=7", "dalle_bart.learning_rate=0.5", "num_shards=3"])
    assert (changed.vqgan.steps, changed.dalle_bart.learning_rate, changed.num_shards) == (7, 0.5, 3)
    assert changed.clip == CPU.clip


@pytest.mark.parametrize("change", ["steps=7", "gan.steps=7", "num_shards=many", "vqgan.wings=2"])
def test_other_changes_are_refused(change: str):
    with pytest.raises(InvalidValue):
        with_changes(CPU, [change])
