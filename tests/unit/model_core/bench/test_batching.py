"""Static batching lets nobody in before all are out; rates are counted while images wait."""

import numpy as np
import pytest

from model_core.bench import traffic
from model_core.bench.batching import RowsInBatches, arriving_visits, bench_batching, codes_per_s, mixed_visits
from model_core.bench.sequences import random_sequence
from model_core.bench.traffic import Progress, Visit
from model_core.sampler.rows import Rows


def test_a_batch_is_not_joined_once_it_has_begun(small_sampler, monkeypatch):
    monkeypatch.setattr(Rows, "advance", lambda rows, steps: None)
    rows = RowsInBatches(*small_sampler, max_rows=4, deterministic=True)
    short, long, late = (random_sequence(small_sampler, seed) for seed in range(3))
    for sequence in (short, long, late):
        rows.check(sequence)
    rows.join(short)
    rows.join(long)
    rows.advance(1)
    rows.leave(short)
    assert Rows.has_room(rows, late)
    assert not rows.has_room(late)
    rows.leave(long)
    assert rows.has_room(late)
    rows.join(late)
    assert rows.has_room(short)


def test_a_rate_counts_from_the_images_that_count_to_the_last_that_waited(small_sampler):
    """One slot: the first two images do not count, and neither does what follows the last job's first row."""
    times = [[(1, 8), (2, 16)], [(3, 8), (4, 16)], [(5, 8), (6, 16)], [(8, 4), (99, 16)]]
    visit = Visit(sequence=random_sequence(small_sampler, 0))
    progress = [Progress(visit, news=[(float(at), number) for at, number in news]) for news in times]
    assert codes_per_s(progress, slots=1) == (8 + 4) / (8 - 5)


def test_half_of_mixed_images_are_shortened_to_half(small_sampler):
    visits = mixed_visits(small_sampler, slots=4, seed=0)
    kinds = [(Progress(visit).num_given, visit.leaves_at) for visit in visits]
    assert [kinds.count(kind) * 4 for kind in ((8, None), (0, 8))] == [len(visits)] * 2
    assert kinds.count((0, None)) * 2 == len(visits)


def test_arrivals_have_the_rate(small_sampler):
    visits = arriving_visits(small_sampler, 400, images_per_s=8.0, seed=1)
    times = [visit.arrival_s for visit in visits]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(50, rel=0.15)


def test_both_ways_are_reported(round_machine, small_models, monkeypatch):
    monkeypatch.setattr(traffic, "CODES_PER_ADVANCE", 4)
    report = bench_batching("mini", slots=2, images=5, deterministic=True, repeats=1)
    assert report.ways == ("static", "continuous")
    assert [one.what for one in report.comparisons] == [
        "equal images, codes/s",
        "half of them shortened, codes/s",
        "latency, p50, s",
        "latency, p95, s",
        "first row, p50, s",
        "first row, p95, s",
    ]
    assert all(np.isfinite(one.ratio) and one.ratio > 0 for one in report.comparisons)
