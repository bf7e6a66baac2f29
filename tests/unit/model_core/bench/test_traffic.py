"""Jobs go through an engine as they were told to, and what their clients saw is written down."""

import pytest
from model_core.bench.jobs import random_job

from model_core.bench import traffic
from model_core.bench.models import load_decoder
from model_core.bench.traffic import Visit, visit_all
from model_core.errors import EngineFailed
from model_core.families.dalle_bart import family as dalle_bart
from model_core.sampler.rows import Rows


@pytest.fixture
def rows(small_models, monkeypatch) -> Rows:
    """For one image, four codes between jobs."""
    monkeypatch.setattr(traffic, "CODES_PER_ADVANCE", 4)
    config, params = load_decoder("mini", "float32")
    return Rows(config, dalle_bart.decoder_weights(params), num_codes=15, max_rows=2, deterministic=True)


def test_clients_see_their_rows_and_leave_when_they_wish(rows, small_models):
    whole, primed, gone, late = visit_all(
        rows,
        [
            Visit(job=random_job(small_models, 0)),
            Visit(job=random_job(small_models, 1, num_fixed=8)),
            Visit(job=random_job(small_models, 2), leaves_at=8),
            Visit(job=random_job(small_models, 3), arrival_s=0.01),
        ],
    )
    assert [number for _, number in whole.news] == [4, 8, 12, 16]
    assert [number for _, number in primed.news] == [12, 16]
    assert [number for _, number in gone.news] == [4, 8]
    assert [number for _, number in late.news] == [4, 8, 12, 16]
    assert primed.num_given == 8
    assert 0 < whole.first_row_s() < whole.latency_s()
    assert rows.num_taken == 0


def test_a_step_that_fails_ends_the_run(rows, small_models, monkeypatch):
    def fail(steps):
        raise RuntimeError("broken")

    monkeypatch.setattr(rows, "advance", fail)
    with pytest.raises(EngineFailed, match="did not end"):
        visit_all(rows, [Visit(job=random_job(small_models, 0))])
