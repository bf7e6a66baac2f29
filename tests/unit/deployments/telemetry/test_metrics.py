import asyncio
import math
from collections import defaultdict
from typing import Any

import pytest

from deployments.errors import DeadlineExceeded, Overloaded, StageUnavailable, UnknownParameter
from deployments.telemetry import metrics as telemetry
from deployments.telemetry.metrics import PipelineMetrics, RefinerMetrics, RequestMetrics, SamplerMetrics, SlotCounts

Recorded = dict[str, list[tuple[float, dict[str, str]]]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """What was recorded, by metric; each value still goes through Ray's own class, which checks it and its labels."""
    found: Recorded = defaultdict(list)

    def recording(kind: type, method: str) -> type:
        def record(self: Any, value: float, tags: dict[str, str] | None = None) -> None:
            getattr(kind, method)(self, value, tags)
            found[self.info["name"].removeprefix(telemetry.PREFIX)].append((value, tags or {}))

        return type(kind.__name__, (kind,), {method: record})

    for name, method in {"Counter": "inc", "Gauge": "set", "Histogram": "observe"}.items():
        monkeypatch.setattr(telemetry, name, recording(getattr(telemetry, name), method))
    return found


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_request_that_ends_well_leaves_its_time_and_its_images(recorded: Recorded):
    clock = Clock()
    with RequestMetrics(clock).request() as request:
        request.model, request.num_drawn, request.num_returned = "emoji", 4, 1
        clock.now = 2.5
    labels = {"model": "emoji", "stream": "false"}
    assert recorded == {
        "requests": [(1, labels | {"outcome": "ok"})],
        "request_seconds": [(2.5, labels)],
        "images_drawn": [(4, {"model": "emoji"})],
        "images_returned": [(1, {"model": "emoji"})],
    }


def test_only_the_first_preview_counts(recorded: Recorded):
    clock = Clock()
    with RequestMetrics(clock).request(stream=True) as request:
        request.model = "emoji"
        for second in (1.0, 2.0, 3.0):
            clock.now = second
            request.previewed()
    assert recorded["first_preview_seconds"] == [(1.0, {"model": "emoji"})]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UnknownParameter("x"), "invalid"),
        (Overloaded("x", 1), "refused"),
        (DeadlineExceeded("x"), "timeout"),
        (StageUnavailable("x"), "unavailable"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (RuntimeError("x"), "failed"),
    ],
    ids=repr,
)
def test_a_request_that_fails_counts_as_what_it_is(recorded: Recorded, error: BaseException, outcome: str):
    with pytest.raises(type(error)), RequestMetrics().request():
        raise error
    assert recorded == {"requests": [(1, {"model": "", "stream": "false", "outcome": outcome})]}


def test_a_pipeline_notes_retries_and_scores(recorded: Recorded):
    metrics = PipelineMetrics("emoji")
    metrics.retried("token_sampler")
    metrics.unranked()
    for score in (21.5, math.nan, -3.0):
        metrics.scored(score)
    assert recorded == {
        "retries": [(1, {"model": "emoji", "stage": "token_sampler"})],
        "unranked_requests": [(1, {"model": "emoji"})],
        "clip_score": [(21.5, {"model": "emoji"}), (0.0, {"model": "emoji"})],
    }


def test_a_sampler_says_how_full_it_is_and_counts_each_code_once(recorded: Recorded):
    metrics = SamplerMetrics()
    for drawn, near_ties in ((0, 0), (64, 0), (64, 0), (100, 2)):
        metrics.publish(SlotCounts(slots=4, active=3, waiting=2, codes_drawn=drawn, near_ties=near_ties))
    assert recorded["sampler_slots"] == [(4, {})] * 4
    assert recorded["sampler_active_slots"] == [(3, {})] * 4
    assert recorded["sampler_waiting_images"] == [(2, {})] * 4
    assert recorded["sampler_codes"] == [(64, {}), (36, {})]
    assert recorded["sampler_near_ties"] == [(2, {})]


def test_a_sampler_counts_what_its_steps_bring(recorded: Recorded):
    """Codes by steps, and codes by codes tried, are what a window is worth."""
    metrics = SamplerMetrics()
    for drawn, steps, tried, window in ((6, 2, 8, 4), (6, 2, 8, 1), (16, 4, 24, 8)):
        metrics.publish(
            SlotCounts(slots=4, active=3, waiting=2, codes_drawn=drawn, steps=steps, codes_tried=tried, window=window)
        )
    assert recorded["sampler_codes"] == [(6, {}), (10, {})]
    assert recorded["sampler_steps"] == [(2, {}), (2, {})]
    assert recorded["sampler_codes_tried"] == [(8, {}), (16, {})]
    assert recorded["sampler_window"] == [(4, {}), (1, {}), (8, {})]


def test_a_samplers_image_leaves_its_times(recorded: Recorded):
    clock = Clock()
    metrics = SamplerMetrics(clock)
    with metrics.image() as first_row:
        clock.now = 0.5
        first_row()
        clock.now = 4.0
    with pytest.raises(asyncio.CancelledError), metrics.image():
        raise asyncio.CancelledError
    assert recorded == {
        "sampler_first_row_seconds": [(0.5, {})],
        "sampler_image_seconds": [(4.0, {})],
        "sampler_images": [(1, {"outcome": "ok"}), (1, {"outcome": "cancelled"})],
    }


def test_a_refiners_picture_leaves_its_steps_its_time_and_its_end(recorded: Recorded):
    clock = Clock()
    metrics = RefinerMetrics(clock)
    with metrics.picture() as stepped:
        for steps in (0, 4, 2):
            stepped(steps)
        clock.now = 4.0
    with pytest.raises(DeadlineExceeded), metrics.picture() as stepped:
        stepped(3)
        raise DeadlineExceeded("too long")
    assert recorded == {
        "refiner_steps": [(4, {}), (2, {}), (3, {})],
        "refiner_picture_seconds": [(4.0, {})],
        "refiner_pictures": [(1, {"outcome": "ok"}), (1, {"outcome": "timeout"})],
    }
