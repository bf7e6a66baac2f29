"""Sequences go through an engine as they were told to, and what their clients saw is written down."""

import pytest

from model_core.bench import traffic
from model_core.bench.sequences import random_sequence
from model_core.bench.traffic import Visit, visit_all
from model_core.errors import EngineFailed
from model_core.sampler.rows import Rows


@pytest.fixture
def rows(small_sampler, monkeypatch) -> Rows:
    """For one image, four codes a turn."""
    monkeypatch.setattr(traffic, "CODES_PER_ADVANCE", 4)
    return Rows(*small_sampler, max_rows=2, deterministic=True)


def test_clients_see_their_rows_and_leave_when_they_wish(rows, small_sampler):
    whole, primed, gone, late = visit_all(
        rows,
        [
            Visit(sequence=random_sequence(small_sampler, 0)),
            Visit(sequence=random_sequence(small_sampler, 1, num_fixed=8)),
            Visit(sequence=random_sequence(small_sampler, 2), leaves_at=8),
            Visit(sequence=random_sequence(small_sampler, 3), arrival_s=0.01),
        ],
    )
    assert [number for _, number in whole.news] == [4, 8, 12, 16]
    assert [number for _, number in primed.news] == [12, 16]
    assert [number for _, number in gone.news] == [4, 8]
    assert [number for _, number in late.news] == [4, 8, 12, 16]
    assert primed.num_given == 8
    assert 0 < whole.first_row_s() < whole.latency_s()
    assert rows.num_taken == 0


def test_a_step_that_fails_ends_the_run(rows, small_sampler, monkeypatch):
    def fail(steps):
        raise RuntimeError("broken")

    monkeypatch.setattr(rows, "advance", fail)
    with pytest.raises(EngineFailed, match="did not end"):
        visit_all(rows, [Visit(sequence=random_sequence(small_sampler, 0))])
