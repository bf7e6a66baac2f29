"""Continuous against static batching: the same engine and jobs, let in at any time or only when nobody is there.

Knows nothing of threads and clocks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from model_core.bench import machine
from model_core.bench.comparison import Comparison, ComparisonReport, compared, in_turns
from model_core.bench.jobs import random_job, room_for
from model_core.bench.models import load_decoder
from model_core.bench.traffic import Progress, Visit, visit_all
from model_core.families.dalle_bart import dalle_bart
from model_core.families.dalle_bart.network import DalleBartConfig
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import CheckedJob

UNCOUNTED_BATCHES = 2  # the first at saturation, until jobs are at places of their own
BATCHES = 6


class RowsInBatches(Rows):
    """Static batching: while a job is here that has begun, none may join, so the next ones wait for all of them."""

    _have_begun = False

    def has_room(self, job: CheckedJob) -> bool:
        """Whether the job can join now."""
        return super().has_room(job) and not (self._have_begun and self.num_taken)

    def join(self, job: CheckedJob) -> Any:
        """As `Rows`."""
        if not self.num_taken:
            self._have_begun = False
        return super().join(job)

    def advance(self, steps: int) -> int:
        """As `Rows`."""
        self._have_begun = True
        return super().advance(steps)


def bench_batching(
    model: str,
    *,
    slots: int = 16,
    jobs: int = 300,
    load: float = 0.8,
    dtype: str = "float32",
    deterministic: bool = False,
    repeats: int = 3,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> ComparisonReport:
    """Measures throughput while jobs wait, in turns, then what a trace of random arrivals sees of each way.

    Args:
      model: "mini" or "mega" for random weights of the public size, else a shipped model's name or a folder.
      slots: images at a time.
      jobs: of the trace, with exponential gaps (a Poisson process).
      load: rate of the trace by static batching's throughput, as measured just before.
      deterministic: as the engine's setting.
      repeats: rounds of the measurement of throughput; the trace is long enough to be sent once.
      seed: of the trace, and of the order of different jobs.
      report: called with a line for every step.

    Raises:
      DalleServeError: there is no such model or dtype.
      EngineFailed: the engine does not end its jobs.
    """
    config, params = load_decoder(model, dtype)
    weights = dalle_bart.decoder_weights(params)
    del params
    here = machine.measure(dtype)

    def run(kind: type[Rows], visits: Sequence[Visit]) -> list[Progress]:
        return visit_all(room_for(slots, config, weights, deterministic=deterministic, kind=kind), visits)

    def throughput(what: str, visits: Sequence[Visit]) -> Comparison:
        def measure(kind: type[Rows]) -> float:
            return codes_per_s(run(kind, visits), slots)

        found = compared(what, in_turns(lambda: measure(RowsInBatches), lambda: measure(Rows), repeats))
        report(f"{what}: static {found.first:.0f}, continuous {found.second:.0f}")
        return found

    equal = throughput("equal jobs, codes/s", equal_visits(config, slots))
    mixed = throughput("half of them shortened, codes/s", mixed_visits(config, slots, seed))
    trace = arriving_visits(config, jobs, load * equal.first / config.image_length, seed)
    report(f"{jobs} jobs arrive, twice, at {load * equal.first / config.image_length:.2f} a second")
    static, continuous = run(RowsInBatches, trace), run(Rows, trace)
    latencies = [
        compared(f"{what}, p{percent}, s", [(percentile(static, of, percent), percentile(continuous, of, percent))])
        for what, of in (("latency", Progress.latency_s), ("first row", Progress.first_row_s))
        for percent in (50, 95)
    ]
    settings = {"slots": slots, "deterministic": deterministic, "jobs": jobs, "load": load, "seed": seed}
    ways = ("static", "continuous")
    return ComparisonReport("batching", model, dtype, settings, here, ways, (equal, mixed, *latencies))


def equal_visits(config: DalleBartConfig, slots: int) -> list[Visit]:
    """Whole images that all wait. The first ones bring a part, each another, lest all end together for ever."""
    parts = [config.image_length * i // slots for i in range(slots)]
    parts += [0] * slots * (UNCOUNTED_BATCHES + BATCHES - 1)
    return [Visit(job=random_job(config, seed, num_fixed=part)) for seed, part in enumerate(parts)]


def mixed_visits(config: DalleBartConfig, slots: int, seed: int) -> list[Visit]:
    """Of four images that wait, two are whole, one has its first half fixed, one is given up at its half."""
    half = config.image_length // 2
    number = slots * (UNCOUNTED_BATCHES + BATCHES)
    kinds = np.random.default_rng(seed).permutation(number) % 4
    return [
        Visit(
            job=random_job(config, i, num_fixed=half if kind == 0 else 0),
            leaves_at=half if kind == 1 else None,
        )
        for i, kind in enumerate(kinds)
    ]


def arriving_visits(config: DalleBartConfig, jobs: int, images_per_s: float, seed: int) -> list[Visit]:
    """Whole images, with exponential gaps between arrivals."""
    gaps = np.random.default_rng(seed).exponential(1 / images_per_s, jobs)
    return [Visit(job=random_job(config, i), arrival_s=float(at)) for i, at in enumerate(np.cumsum(gaps))]


def codes_per_s(progress: Sequence[Progress], slots: int) -> float:
    """Codes drawn by seconds, between two moments at which a job had its first row: after the jobs that do not count,
    and the last. All the while, jobs wait.
    """
    first_rows = sorted(one.news[0][0] for one in progress)
    begin, end = first_rows[UNCOUNTED_BATCHES * slots], first_rows[-1]
    drawn = 0
    for one in progress:
        before = one.num_given
        for at, num_codes in one.news:
            drawn += (num_codes - before) * (begin < at <= end)
            before = num_codes
    return drawn / (end - begin)


def percentile(progress: Sequence[Progress], of: Callable[[Progress], float], percent: float) -> float:
    """Of what the clients saw."""
    return float(np.percentile([of(one) for one in progress], percent))
