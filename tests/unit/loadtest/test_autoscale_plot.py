from pathlib import Path

import pytest

from loadtest.autoscale_plot import draw, rates

ROWS = [
    {
        "seconds": second,
        "arrived": 2 * second,
        "answered": second,
        "pending": 1,
        "active": 1,
        "waiting": 0,
        "batch answered": 3 * second,
        "batch active": 2,
        "replicas a": 1,
    }
    for second in range(12)
]


def test_a_rate_is_the_rise_over_the_last_seconds():
    assert rates(ROWS, "arrived") == pytest.approx([0.0] + [2.0] * 11)


def test_the_picture_is_drawn_also_where_replicas_come_late(tmp_path: Path):
    rows = [*ROWS, ROWS[-1] | {"seconds": 12, "replicas b": 2, "wanted b": 3}]
    draw(rows, [(1.0, 0.5, "json"), (2.0, 0.7, "stream")], tmp_path / "picture.png", "a run")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
