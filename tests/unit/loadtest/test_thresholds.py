from argparse import ArgumentParser
from dataclasses import replace

import pytest

from loadtest.thresholds import Result, add_options, broken

RESULT = Result(
    seconds=10, images=20, requests=25, refusals=5, failures=0, median_s=1, p95_s=2, p99_s=3, first_preview_p95_s=0.5
)


def lines(result: Result, *arguments: str) -> list[str]:
    parser = ArgumentParser()
    add_options(parser)
    return broken(result, parser.parse_args(arguments))


def test_a_good_run_breaks_nothing():
    assert lines(RESULT) == []
    assert lines(RESULT, "--max-p95=2", "--max-p99=3", "--max-first-preview-p95=0.5", "--min-images-per-second=2") == []


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("--max-p95=1.9", "95th percentile 2.00 s, allowed are 1.9 s"),
        ("--max-p99=1.9", "99th percentile 3.00 s, allowed are 1.9 s"),
        ("--max-first-preview-p95=0.4", "first preview, 95th percentile 0.50 s, allowed are 0.4 s"),
        ("--min-images-per-second=2.1", "2.00 images/s, wanted are 2.1"),
    ],
)
def test_a_threshold_that_is_not_kept_is_named(argument: str, line: str):
    assert lines(RESULT, argument) == [line]


def test_failures_count_and_refusals_do_not():
    assert lines(replace(RESULT, failures=2)) == ["2 requests failed, allowed are 0"]
    assert lines(replace(RESULT, failures=2), "--max-failures=2") == []


def test_a_run_without_images_is_broken_whatever_was_asked():
    assert lines(replace(RESULT, images=0)) == ["not a single image was drawn"]


def test_what_was_not_measured_is_not_kept():
    assert lines(replace(RESULT, first_preview_p95_s=None), "--max-first-preview-p95=9") == [
        "first preview, 95th percentile not measured, allowed are 9 s"
    ]
