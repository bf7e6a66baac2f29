"""What the service counts and measures: one class for each part that does, over `ray.serve.metrics`.

Ray exports every name here with `ray_` in front, and counters with `_total` behind; Serve adds the labels
`application`, `deployment` and `replica`. Of batches and queues Serve itself exports enough:
`ray_serve_batch_execution_time_ms`, `ray_serve_batch_wait_time_ms`, `ray_serve_actual_batch_size`,
`ray_serve_deployment_queued_queries`. docs/runbook.md says how to read them all.
Without Ray every call here is harmless, and where Ray fails it is too: what is measured goes on.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray.serve.metrics import Counter, Gauge, Histogram

from deployments.errors import ContentRefused, DeadlineExceeded, Overloaded, StageUnavailable
from deployments.telemetry import degraded
from model_core.errors import InvalidValue, ModelNotFound

PREFIX = "dalle_serve_"
BY_PRODUCT = "metrics"  # their name where they fail
SECONDS = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0]
SCORES = [2.5 * step for step in range(1, 17)]  # CLIP's logits: 100 × cosine in the published ones

# The first line that fits counts.
OUTCOMES: list[tuple[type[BaseException], str]] = [
    (ContentRefused, "blocked"),
    (InvalidValue, "invalid"),
    (ModelNotFound, "invalid"),
    (Overloaded, "refused"),
    (DeadlineExceeded, "timeout"),
    (StageUnavailable, "unavailable"),
    (asyncio.CancelledError, "cancelled"),  # the client left
    (GeneratorExit, "cancelled"),  # the same, in the middle of a stream
]


def outcome_of(error: BaseException) -> str:
    """The label for a request that ended with an error; `failed` where nobody foresaw it."""
    return next((outcome for kind, outcome in OUTCOMES if isinstance(error, kind)), "failed")


@dataclass(slots=True, kw_only=True)
class MeasuredRequest:
    """One request under way.

    Attributes:
      model: its id, once it is known to be one of ours: a label must not be for the caller to choose.
      key: the name of the caller's key; "" without keys.
      cache: how a request with a seed got its images: `hit`, `joined` or `miss`; "" where nothing was looked up.
    """

    stream: bool
    previewed: Callable[[], None]
    model: str = ""
    num_drawn: int = 0
    num_returned: int = 0
    cache: str = ""
    key: str = ""


class RequestMetrics:
    """What the gateway measures of requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        labels: Any = ("model", "stream")  # Serve's annotation allows one label only, its code any number
        ended: Any = (*labels, "outcome")
        self._requests = Counter(f"{PREFIX}requests", "Requests that have ended, by how.", ended)
        self._seconds = Histogram(f"{PREFIX}request_seconds", "Time of requests that ended well.", SECONDS, labels)
        self._preview_seconds = Histogram(
            f"{PREFIX}first_preview_seconds", "Time from a request to its first preview.", SECONDS, ("model",)
        )
        self._drawn = Counter(f"{PREFIX}images_drawn", "Images drawn, those that best_of dropped too.", ("model",))
        self._returned = Counter(f"{PREFIX}images_returned", "Images in replies.", ("model",))
        found: Any = ("model", "outcome")
        self._cache = Counter(f"{PREFIX}result_cache", "Images of requests with seeds: hit, joined, miss.", found)
        of_key: Any = ("key", "model")
        self._of_key = Counter(f"{PREFIX}key_images_drawn", "Images drawn for each API key, by its name.", of_key)
        self._pending = Gauge(f"{PREFIX}pending_images", "Images asked for and not drawn yet.")
        self._degraded = Gauge(f"{PREFIX}degraded", "1 for each by-product that fails, 0 where it works.", ("what",))

    @contextmanager
    def request(self, *, stream: bool = False) -> Iterator[MeasuredRequest]:
        """Measures one request from here to the end of the block, and counts how it ends; errors pass through."""
        started = self._clock()
        shown = False

        def previewed() -> None:
            nonlocal shown
            if not shown:
                _record(self._preview_seconds.observe, self._clock() - started, {"model": request.model})
            shown = True

        request = MeasuredRequest(stream=stream, previewed=previewed)
        outcome = "ok"
        try:
            yield request
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            labels = {"model": request.model, "stream": str(request.stream).lower()}
            _record(self._requests.inc, 1, labels | {"outcome": outcome})
            if outcome == "ok":
                if request.cache != "hit":  # else the times would tell nothing of drawing
                    _record(self._seconds.observe, self._clock() - started, labels)
                if request.cache:
                    _add(self._cache, request.num_returned, {"model": request.model, "outcome": request.cache})
                _add(self._drawn, request.num_drawn, {"model": request.model})
                if request.key:
                    _add(self._of_key, request.num_drawn, {"key": request.key, "model": request.model})
                _add(self._returned, request.num_returned, {"model": request.model})

    def pending(self, num_images: int) -> None:
        """Says how many images are asked for and not drawn yet; to be called about once a second.

        Ray forgets a gauge that has not been set for some seconds.
        """
        _record(self._pending.set, num_images)

    def degraded(self, reasons: dict[str, str]) -> None:
        """Says which by-products fail, as `degraded.reasons` has it; as often."""
        for what, why in reasons.items():
            _record(self._degraded.set, float(bool(why)), {"what": what})


class BatchMetrics:
    """What one gateway's work on batches counts."""

    def __init__(self) -> None:
        self._requests = Counter(
            f"{PREFIX}batch_requests", "Requests of batches that have ended, by how.", ("outcome",)
        )

    def ended(self, outcome: str) -> None:
        """Counts a request that is `completed`, or `failed` by its own fault or for good."""
        _record(self._requests.inc, 1, {"outcome": outcome})


class PipelineMetrics:
    """What one model's pipeline counts."""

    def __init__(self, model: str):
        self._model = {"model": model}
        labels: Any = ("model", "stage")
        self._retries = Counter(f"{PREFIX}retries", "Calls made again after a replica died.", labels)
        self._unranked = Counter(
            f"{PREFIX}unranked_requests", "Requests answered without scores, the scorer being down.", ("model",)
        )
        found: Any = ("model", "outcome")
        self._prompts = Counter(f"{PREFIX}prompt_cache", "Prompts looked up among those encoded: hit, miss.", found)
        self._scores = Histogram(f"{PREFIX}clip_score", "CLIP scores of the images drawn.", SCORES, ("model",))

    def retried(self, stage: str) -> None:
        """Counts a call made again because the stage's replica died under it."""
        _record(self._retries.inc, 1, self._model | {"stage": stage})

    def prompt_looked_up(self, found: bool) -> None:
        """Counts a prompt that was looked for among those that are kept."""
        _record(self._prompts.inc, 1, self._model | {"outcome": "hit" if found else "miss"})

    def unranked(self) -> None:
        """Counts a request whose images could not be scored, and were returned all the same."""
        _record(self._unranked.inc, 1, self._model)

    def scored(self, score: float) -> None:
        """Notes an image's score, one below 0 as 0: Ray drops negative values from histograms, and says nothing.

        NaN would spoil the sum of all others.
        """
        if not math.isnan(score):
            _record(self._scores.observe, max(score, 0.0), self._model)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCounts:
    """How full a sampler is: its slots, those taken, images that wait for one; codes drawn since it started.

    Attributes:
      active: half a slot for an image without guidance.
      near_ties: of those codes, how many won so narrowly that another batch composition might have drawn another one.
      codes_tried: those that were thrown away counted too.
      steps: taken, those of each image counted.
      window: codes that a step tries to draw just now.
      batch_active: slots taken by batch work; it is among `active`.
      batch_waiting: the same among those that wait, what gave way included.
      times_given_way: images of batch work that gave their rows to others, since the start.
    """

    slots: float
    active: float
    waiting: int
    codes_drawn: int
    near_ties: int = 0
    codes_tried: int = 0
    steps: int = 0
    window: int = 1
    batch_active: float = 0
    batch_waiting: int = 0
    times_given_way: int = 0


class SamplerMetrics:
    """What one replica of the sampler measures."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._slots = Gauge(f"{PREFIX}sampler_slots", "Images under guidance that the replica can draw at a time.")
        self._active = Gauge(f"{PREFIX}sampler_active_slots", "Slots taken; half of one by an image without guidance.")
        self._waiting = Gauge(f"{PREFIX}sampler_waiting_images", "Images that wait in it for a slot.")
        self._codes = Counter(f"{PREFIX}sampler_codes", "Codes drawn, those of images given up too.")
        self._near_ties = Counter(f"{PREFIX}sampler_near_ties", "Codes drawn that won by less than 0.001.")
        self._tried = Counter(f"{PREFIX}sampler_codes_tried", "Codes that steps tried to draw, right or not.")
        self._steps = Counter(f"{PREFIX}sampler_steps", "Steps, those of each image counted.")
        self._window = Gauge(f"{PREFIX}sampler_window", "Codes that a step tries to draw.")
        self._batch_active = Gauge(f"{PREFIX}sampler_batch_slots", "Slots taken by batch work.")
        self._batch_waiting = Gauge(f"{PREFIX}sampler_batch_waiting_images", "Batch images that wait for a slot.")
        self._given_way = Counter(f"{PREFIX}sampler_given_way", "Batch images that gave their slot to others.")
        self._images = Counter(f"{PREFIX}sampler_images", "Images that have ended, by how.", ("outcome",))
        self._seconds = Histogram(f"{PREFIX}sampler_image_seconds", "Time of an image in the sampler.", SECONDS)
        self._row_seconds = Histogram(
            f"{PREFIX}sampler_first_row_seconds", "Time from an image's arrival to its first row of codes.", SECONDS
        )
        self._seen = SlotCounts(slots=0, active=0, waiting=0, codes_drawn=0)

    def publish(self, counts: SlotCounts) -> None:
        """Says how full the replica is; to be called about once a second."""
        _record(self._slots.set, counts.slots)
        _record(self._active.set, counts.active)
        _record(self._waiting.set, counts.waiting)
        _record(self._window.set, counts.window)
        _record(self._batch_active.set, counts.batch_active)
        _record(self._batch_waiting.set, counts.batch_waiting)
        _add(self._given_way, counts.times_given_way - self._seen.times_given_way)
        _add(self._codes, counts.codes_drawn - self._seen.codes_drawn)
        _add(self._near_ties, counts.near_ties - self._seen.near_ties)
        _add(self._tried, counts.codes_tried - self._seen.codes_tried)
        _add(self._steps, counts.steps - self._seen.steps)
        self._seen = counts

    @contextmanager
    def image(self) -> Iterator[Callable[[], None]]:
        """Measures one image from here to the end of the block, and counts how it ends.

        Gives a function to call when the first row of codes is there; where it is never called, no such time is noted.
        """
        started = self._clock()
        with _measured(self._images, self._seconds, self._clock):
            yield lambda: _record(self._row_seconds.observe, self._clock() - started)


class RefinerMetrics:
    """What one replica of the refiner measures."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._steps = Counter(f"{PREFIX}refiner_steps", "Steps of pictures, those given up too.")
        self._pictures = Counter(f"{PREFIX}refiner_pictures", "Pictures that have ended, by how.", ("outcome",))
        self._seconds = Histogram(
            f"{PREFIX}refiner_picture_seconds", "Time of a picture, the turns of others included.", SECONDS
        )

    @contextmanager
    def picture(self) -> Iterator[Callable[[int], None]]:
        """Measures one picture from here to the end of the block, and counts how it ends.

        Gives a function to call with the number of steps that have been made since it was called last.
        """
        with _measured(self._pictures, self._seconds, self._clock):
            yield lambda steps: _add(self._steps, steps)


class EnergyMetrics:
    """What a node's reporter measures; `source` is what it reads."""

    def __init__(self, source: str):
        self._source = {"source": source}
        self._joules = Counter(f"{PREFIX}energy_joules", "Energy that a node's devices consumed.", ("source",))

    def consumed(self, joules: float) -> None:
        """Counts joules."""
        _add(self._joules, joules, self._source)


@contextmanager
def _measured(ended: Counter, seconds: Histogram, clock: Callable[[], float]) -> Iterator[None]:
    """Counts how the block ends, and how long it took if that was well."""
    started = clock()
    outcome = "ok"
    try:
        yield
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        _record(ended.inc, 1, {"outcome": outcome})
        if outcome == "ok":
            _record(seconds.observe, clock() - started)


def _add(counter: Counter, amount: float, labels: dict[str, str] | None = None) -> None:
    """Ray's counters refuse to be raised by nothing."""
    if amount > 0:
        _record(counter.inc, amount, labels or {})


def _record(record: Callable[..., None], *values: Any) -> None:
    try:
        record(*values)
    except Exception as error:
        degraded.failed(BY_PRODUCT, "what is measured cannot be recorded", repr(error))
