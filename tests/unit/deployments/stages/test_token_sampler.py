"""The stage as Serve runs it, without Serve: a tiny model, and one loop with many calls."""

import asyncio
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.config import TokenSamplerConfig
from deployments.errors import DeadlineExceeded, NoRoomForBatch
from deployments.stages.token_sampler import TokenSamplerDeployment
from model_core.errors import CheckpointMismatch, EngineFailed, InvalidValue
from model_core.families import read_config
from model_core.families.conditions import Condition
from model_core.sampler import rows as rows_module
from model_core.sampler.sequence import Sampling

FIXTURES = Path(__file__).parents[3] / "parity" / "fixtures"
SAMPLING = Sampling(guidance_scale=3.0, temperature=1.0, top_k=0, top_p=1.0)
LENGTH, ROW = 64, 8  # of the tiny model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    for part, fixture in (("dalle_bart", "dalle-tiny"), ("vqgan", "vqgan-tiny")):
        shutil.copytree(FIXTURES / fixture, folder / part, ignore=shutil.ignore_patterns("goldens*"))
    sampling = {name: value for name, value in asdict(SAMPLING).items() if name != "guided_codes"}
    card = {"id": "tiny", "licence": "Apache-2.0", "size": 32, "sampling": sampling, "description": "random"}
    (folder / "model.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="module")
def sampler(folder: Path) -> Iterator[TokenSamplerDeployment]:
    sampler = TokenSamplerDeployment(str(folder), TokenSamplerConfig(slots=1, codes_per_advance=ROW))
    yield sampler
    sampler.__del__()


@pytest.fixture(scope="module")
def texts(folder: Path) -> tuple[Condition, Condition]:
    """A prompt and the empty one, as arrays that cannot be written to: so they arrive from other processes."""
    shape = read_config(folder / "dalle_bart").condition_shape
    states = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    mask = np.ones((2, *shape[:1]), np.int32)
    states.flags.writeable = mask.flags.writeable = False
    return Condition(states[0], mask[0]), Condition(states[1], mask[1])


def run(drawing: Any) -> Any:
    return asyncio.run(asyncio.wait_for(drawing, 120))


async def rows_of(
    sampler: TokenSamplerDeployment, texts: Any, rows: tuple[int, ...], **options: Any
) -> list[np.ndarray]:
    """Of one image, all that is shown."""
    shown = [options.pop("shown")] if "shown" in options else None
    drawing = sampler.sample(texts, (7,), SAMPLING, rows=[rows], shown=shown, **options)
    return [codes async for items in drawing for _, codes in items]


async def whole_of(sampler: TokenSamplerDeployment, texts: Any, seed: int = 7, **options: Any) -> np.ndarray:
    (((_, codes),),) = [items async for items in sampler.sample(texts, (seed,), SAMPLING, **options)]
    return codes


def test_a_stream_shows_the_rows_asked_for_and_ends_with_what_sample_returns(
    sampler: TokenSamplerDeployment, texts: Any
):
    whole = run(whole_of(sampler, texts))
    assert whole.shape == (LENGTH,) and (whole >= 0).all()
    first, third, last = run(rows_of(sampler, texts, (1, 3)))
    for codes, num_rows in ((first, 1), (third, 3)):
        np.testing.assert_array_equal(codes[: num_rows * ROW], whole[: num_rows * ROW])
        assert (codes[num_rows * ROW :] == -1).all()
    np.testing.assert_array_equal(last, whole)


def test_batch_work_draws_the_same_and_what_is_too_much_of_it_is_refused(sampler: TokenSamplerDeployment, texts: Any):
    """While others are drawn in its place."""
    seeds = range(3)  # as many as are accepted

    async def draw_all() -> list[np.ndarray]:
        bulk = [asyncio.create_task(whole_of(sampler, texts, seed, is_batch=True)) for seed in seeds]
        while not (await sampler.record_autoscaling_stats())["active_slots"]:
            await asyncio.sleep(0.001)
        with pytest.raises(NoRoomForBatch):
            await whole_of(sampler, texts, is_batch=True)
        mine = await whole_of(sampler, texts, 10)
        return [*await asyncio.gather(*bulk), mine]

    for seed, codes in zip([*seeds, 10], run(draw_all()), strict=True):
        np.testing.assert_array_equal(codes, run(whole_of(sampler, texts, seed)))
    assert sampler._num_batch == 0


def test_many_calls_share_the_slots_and_change_nothing(sampler: TokenSamplerDeployment, texts: Any):
    async def draw_all() -> list[np.ndarray]:
        return await asyncio.gather(*(whole_of(sampler, texts, seed, request_id="r") for seed in range(3)))

    for seed, codes in enumerate(run(draw_all())):
        np.testing.assert_array_equal(codes, run(whole_of(sampler, texts, seed)))


def test_images_of_one_call_are_those_of_many(sampler: TokenSamplerDeployment, texts: Any):
    async def draw() -> list[tuple[int, np.ndarray]]:
        drawing = sampler.sample(texts, (0, 1, 2), SAMPLING, rows=[(1,), (), ()])
        return [item async for items in drawing for item in items]

    items = run(draw())
    assert sorted(place for place, _ in items) == [0, 0, 1, 2]
    for place, codes in items:
        expected = run(whole_of(sampler, texts, place))
        np.testing.assert_array_equal(codes[codes >= 0], expected[codes >= 0])
    assert sum((codes < 0).any() for _, codes in items) == 1


@pytest.mark.parametrize("is_deterministic", [True, False])
def test_another_replica_goes_on_from_what_was_shown(
    sampler: TokenSamplerDeployment, texts: Any, is_deterministic: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sampler, "_is_deterministic", is_deterministic)
    shown, whole = run(rows_of(sampler, texts, (5,)))
    before = sampler._engine.stats().codes_drawn
    *again, last = run(rows_of(sampler, texts, (5, 7), shown=shown))
    assert [int((codes >= 0).sum()) for codes in again] == [7 * ROW]
    np.testing.assert_array_equal(last, whole)
    assert sampler._engine.stats().codes_drawn - before == (LENGTH if is_deterministic else LENGTH - 5 * ROW)


@pytest.mark.parametrize(
    ("setting", "deterministic"), [(5, True), ("auto", True), pytest.param("auto", False, marks=pytest.mark.exhaustive)]
)
def test_windows_draw_the_same_image(
    sampler: TokenSamplerDeployment, texts: Any, folder: Path, tmp_path: Path, setting: Any, deterministic: bool
):
    """By the setting, by model.json, or as pays; the replica says what steps bring."""
    whole = run(whole_of(sampler, texts))
    shutil.copytree(folder, tmp_path / "wide")
    card = json.loads((folder / "model.json").read_text()) | {"window": 3}
    (tmp_path / "wide" / "model.json").write_text(json.dumps(card))
    config = TokenSamplerConfig(slots=1, codes_per_advance=ROW, window=setting, deterministic=deterministic)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "WINDOWS", (1, 4))
        wide = TokenSamplerDeployment(str(tmp_path / "wide"), config)
    try:
        *shown, last = run(rows_of(wide, texts, (1, 3)))
        stats = wide._engine.stats()
    finally:
        wide.__del__()
    np.testing.assert_array_equal(last, whole)
    for codes in shown:
        np.testing.assert_array_equal(codes[codes >= 0], whole[codes >= 0])
    assert stats.window in {5: [5], "auto": [3] if deterministic else [1, 4]}[setting]
    assert stats.codes_drawn == LENGTH and stats.steps <= LENGTH <= stats.codes_tried


def test_a_stream_that_is_left_frees_its_slot(
    sampler: TokenSamplerDeployment, texts: Any, monkeypatch: pytest.MonkeyPatch
):
    """It is not drawn to its end: after its first row, in turns of 1, 1, 2 and 4 codes, and the turn under way."""
    rows, has_left = sampler._engine._rows, threading.Event()
    advance, turns = rows.advance, itertools.count(1)

    def hold(steps: int) -> None:
        if next(turns) > 4:
            assert has_left.wait(60)
        advance(steps)

    monkeypatch.setattr(rows, "advance", hold)
    before = sampler._engine.stats().codes_drawn

    async def leave() -> None:
        async with aclosing(sampler.sample(texts, (7,), SAMPLING, rows=[(1,)])) as drawing:
            await anext(drawing)
        has_left.set()
        await whole_of(sampler, texts, 8)

    run(leave())
    assert run(sampler.record_autoscaling_stats())["active_slots"] == 0
    assert sampler._engine.stats().codes_drawn - before <= 2 * ROW + LENGTH


@pytest.mark.parametrize(("guidance_scale", "slots"), [(3.0, 1.0), (1.0, 0.5)])
def test_an_image_without_guidance_takes_half_a_slot(
    sampler: TokenSamplerDeployment, texts: Any, guidance_scale: float, slots: float
):
    async def look() -> dict[str, float]:
        sampling = replace(SAMPLING, guidance_scale=guidance_scale)
        async with aclosing(sampler.sample(texts, (7,), sampling, rows=[(1,)])) as drawing:
            await anext(drawing)
            return await sampler.record_autoscaling_stats()

    assert run(look())["active_slots"] == slots


def test_what_cannot_be_drawn_is_refused(sampler: TokenSamplerDeployment, texts: Any):
    for fixed in (np.zeros(5, np.int32), np.full(LENGTH, 10_000, np.int32)):
        with pytest.raises(InvalidValue, match="fixed_codes"):
            run(whole_of(sampler, texts, fixed_codes=fixed))


def test_too_late_is_an_error_of_the_service(sampler: TokenSamplerDeployment, texts: Any):
    with pytest.raises(DeadlineExceeded):
        run(whole_of(sampler, texts, timeout_s=0.0))


def test_its_health_is_the_engines(sampler: TokenSamplerDeployment, monkeypatch: pytest.MonkeyPatch):
    sampler.check_health()

    def fail() -> None:
        raise EngineFailed("stalled")

    monkeypatch.setattr(sampler._engine, "check_health", fail)
    with pytest.raises(EngineFailed, match="stalled"):
        sampler.check_health()


def test_parts_that_do_not_fit_together_are_refused(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "odd")
    config = json.loads((tmp_path / "odd" / "vqgan" / "config.json").read_text())
    config["resolution"] //= 2
    (tmp_path / "odd" / "vqgan" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointMismatch, match="draws 8 × 8 codes an image, the codec takes 4 × 4"):
        TokenSamplerDeployment(str(tmp_path / "odd"), TokenSamplerConfig())


def test_more_devices_than_there_are_are_refused(folder: Path):
    with pytest.raises(InvalidValue, match="num_devices is 1000"):
        TokenSamplerDeployment(str(folder), TokenSamplerConfig(num_devices=1000))
