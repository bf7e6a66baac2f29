"""Continuous against static batching: the same engine and images, let in at any time or only when nobody is there."""

from collections.abc import Callable
from collections.abc import Sequence as Values

import numpy as np

from model_core.bench import machine
from model_core.bench.comparison import Comparison, ComparisonReport, compared, in_turns
from model_core.bench.models import Sampler, load_sampler
from model_core.bench.sequences import random_sequence, room_for
from model_core.bench.traffic import Progress, Visit, visit_all
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import Sequence

UNCOUNTED_BATCHES = 2  # the first at saturation, until images are at places of their own
BATCHES = 6


class RowsInBatches(Rows):
    """Static batching: while an image is here that has begun, none may join, so the next ones wait for all of them."""

    _have_begun = False

    def has_room(self, sequence: Sequence) -> bool:
        """Whether the sequence can join now."""
        return super().has_room(sequence) and not (self._have_begun and self.num_taken)

    def join(self, sequence: Sequence) -> None:
        """As `Rows`."""
        if not self.num_taken:
            self._have_begun = False
        super().join(sequence)

    def advance(self, codes: int) -> None:
        """As `Rows`."""
        self._have_begun = True
        super().advance(codes)


def bench_batching(
    model: str,
    *,
    slots: int = 16,
    images: int = 300,
    load: float = 0.8,
    dtype: str = "float32",
    deterministic: bool = False,
    repeats: int = 3,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> ComparisonReport:
    """Measures throughput while images wait, in turns, then what a trace of random arrivals sees of each way.

    Args:
      model, dtype: as `load_sampler` takes them; its errors are raised here too.
      images: of the trace, with exponential gaps (a Poisson process).
      load: rate of the trace by static batching's throughput, as measured just before.
      repeats: rounds of the measurement of throughput; the trace is long enough to be sent once.
      seed: of the trace, and of the order of different images.
      report: called with a line for every step.

    Raises:
      EngineFailed: the engine does not end its images.
    """
    sampler = load_sampler(model, dtype)
    length = sampler.config.grid.num_codes
    here = machine.measure(dtype)

    def run(kind: type[Rows], visits: Values[Visit]) -> list[Progress]:
        return visit_all(room_for(slots, sampler, deterministic=deterministic, kind=kind), visits)

    def throughput(what: str, visits: Callable[[], Values[Visit]]) -> Comparison:
        def measure(kind: type[Rows]) -> float:
            return codes_per_s(run(kind, visits()), slots)

        found = compared(what, in_turns(lambda: measure(RowsInBatches), lambda: measure(Rows), repeats))
        report(f"{what}: static {found.first:.0f}, continuous {found.second:.0f}")
        return found

    equal = throughput("equal images, codes/s", lambda: equal_visits(sampler, slots))
    mixed = throughput("half of them shortened, codes/s", lambda: mixed_visits(sampler, slots, seed))
    rate = load * equal.first / length
    report(f"{images} images arrive, twice, at {rate:.2f} a second")
    static, continuous = (run(kind, arriving_visits(sampler, images, rate, seed)) for kind in (RowsInBatches, Rows))
    latencies = [
        compared(f"{what}, p{percent}, s", [(percentile(static, of, percent), percentile(continuous, of, percent))])
        for what, of in (("latency", Progress.latency_s), ("first row", Progress.first_row_s))
        for percent in (50, 95)
    ]
    settings = {"slots": slots, "deterministic": deterministic, "images": images, "load": load, "seed": seed}
    ways = ("static", "continuous")
    return ComparisonReport("batching", model, dtype, settings, here, ways, (equal, mixed, *latencies))


def equal_visits(sampler: Sampler, slots: int) -> list[Visit]:
    """Whole images that all wait. The first ones bring a part, each another, lest all end together for ever."""
    parts = [sampler.config.grid.num_codes * i // slots for i in range(slots)]
    parts += [0] * slots * (UNCOUNTED_BATCHES + BATCHES - 1)
    return [Visit(sequence=random_sequence(sampler, seed, num_fixed=part)) for seed, part in enumerate(parts)]


def mixed_visits(sampler: Sampler, slots: int, seed: int) -> list[Visit]:
    """Of four images that wait, two are whole, one has its first half fixed, one is given up at its half."""
    half = sampler.config.grid.num_codes // 2
    number = slots * (UNCOUNTED_BATCHES + BATCHES)
    kinds = np.random.default_rng(seed).permutation(number) % 4
    return [
        Visit(
            sequence=random_sequence(sampler, i, num_fixed=half if kind == 0 else 0),
            leaves_at=half if kind == 1 else None,
        )
        for i, kind in enumerate(kinds)
    ]


def arriving_visits(sampler: Sampler, images: int, images_per_s: float, seed: int) -> list[Visit]:
    """Whole images, with exponential gaps between arrivals."""
    gaps = np.random.default_rng(seed).exponential(1 / images_per_s, images)
    return [Visit(sequence=random_sequence(sampler, i), arrival_s=float(at)) for i, at in enumerate(np.cumsum(gaps))]


def codes_per_s(progress: Values[Progress], slots: int) -> float:
    """Codes drawn by seconds, between two moments at which an image had its first row: after those that do not count,
    and the last. All the while, images wait.
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


def percentile(progress: Values[Progress], of: Callable[[Progress], float], percent: float) -> float:
    """Of what the clients saw."""
    return float(np.percentile([of(one) for one in progress], percent))
