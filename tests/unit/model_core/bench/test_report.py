"""A report as a table, as JSON and as a plot."""

import json

import pytest
from rich.console import Console

from model_core.bench import report
from model_core.bench.comparison import ComparisonReport, compared
from model_core.bench.measurement import Report, measured
from model_core.bench.work import Work


@pytest.fixture
def measurements(round_machine) -> Report:
    """Four seconds for two images that need one second of reading and two of arithmetic."""
    one = measured(2, 4.0, Work(1e9, 2e9), round_machine)
    return Report("decoder", "mini", "float32", {"repeats": 3}, round_machine, (one,))


def test_the_limit_is_the_slower_of_reading_and_arithmetic(measurements):
    (one,) = measurements.measurements
    assert (one.s_per_image, one.images_per_s, one.limit_s) == (2.0, 0.5, 2.0)
    assert (one.limit_fraction, one.bound) == (0.5, "arithmetic")


def test_the_table_says_what_was_measured_where(measurements):
    console = Console(width=200)
    with console.capture() as text:
        report.show(measurements, console)
    for words in ("decoder", "mini", "a test", "1.0 GB/s", "1 GFLOP/s", "50%", "arithmetic"):
        assert words in text.get()


def test_the_table_fits_a_narrow_terminal(round_machine):
    one = measured(
        16, 4.0, Work(1e9, 2e9), round_machine, codes_per_s=1234.5, first_row_s=0.1234, window="auto", codes_a_step=6.5
    )
    console = Console(width=80)
    with console.capture() as text:
        report.show(Report("engine", "mini", "float32", {}, round_machine, (one,)), console)
    for words in ("tried", "0.25", "1234.5", "0.123", "auto", "6.50", "arithmetic", "GiB"):
        assert words in text.get()
    assert "…" not in text.get()


@pytest.mark.parametrize(("seconds", "words"), [(1.0, "200%"), (4.0, "50%")])
def test_what_is_above_the_limit_is_explained(round_machine, seconds: float, words: str):
    one = measured(2, seconds, Work(1e9, 2e9), round_machine)
    console = Console(width=80)
    with console.capture() as text:
        report.show(Report("engine", "mini", "float32", {}, round_machine, (one,)), console)
    assert words in text.get()
    assert (report.ABOVE_THE_LIMIT in text.get()) == (seconds < 2)


def test_comparisons_are_shown_side_by_side(round_machine):
    lines = (compared("latency, p95, s", [(2.0, 1.5)]),)
    compare = ComparisonReport("batching", "mini", "float32", {}, round_machine, ("static", "continuous"), lines)
    console = Console(width=80)
    with console.capture() as text:
        report.show(compare, console)
    for words in ("static", "continuous", "latency, p95, s", "1.5", "0.750"):
        assert words in text.get()


def test_json_holds_all_of_it(measurements):
    written = json.loads(json.dumps(report.as_dict(measurements)))
    assert (written["what"], written["model"], written["settings"]) == ("decoder", "mini", {"repeats": 3})
    assert written["machine"]["flops_per_s"] == 1e9
    assert written["measurements"][0]["limit_fraction"] == 0.5


def test_the_plot_is_a_picture(measurements, tmp_path):
    report.write_plot(measurements, tmp_path / "plot.svg")
    assert "<svg" in (tmp_path / "plot.svg").read_text()
