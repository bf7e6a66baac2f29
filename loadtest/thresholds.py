"""What a run must hold to, as options; a run that does not exits with status 1."""

from argparse import ArgumentParser
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run in numbers; None where nothing was measured."""

    seconds: float
    images: int
    requests: int
    refusals: int
    failures: int
    median_s: float | None
    p95_s: float | None
    p99_s: float | None
    first_preview_p95_s: float | None

    @property
    def images_per_second(self) -> float:
        """Images received, a second."""
        return self.images / self.seconds if self.seconds else 0.0


def add_options(parser: ArgumentParser) -> None:
    """Adds the thresholds to locust's options."""
    group = parser.add_argument_group("thresholds", "Where one of them is not kept, the exit status is 1")
    group.add_argument("--max-p95", type=float, help="Seconds that 95 of 100 accepted requests take at most")
    group.add_argument("--max-p99", type=float, help="Seconds that 99 of 100 accepted requests take at most")
    group.add_argument("--max-first-preview-p95", type=float, help="The same, from request to first preview")
    group.add_argument("--min-images-per-second", type=float, default=0.0, help="Images a second, at least")
    group.add_argument("--max-failures", type=int, default=0, help="Requests that may fail; refusals (429) do not")


def broken(result: Result, options: Any) -> list[str]:
    """Says, in a line each, which thresholds the run did not keep."""
    lines = []
    latencies = {
        "95th percentile": (result.p95_s, options.max_p95),
        "99th percentile": (result.p99_s, options.max_p99),
        "first preview, 95th percentile": (result.first_preview_p95_s, options.max_first_preview_p95),
    }
    for name, (measured, allowed) in latencies.items():
        if allowed is not None and (measured is None or measured > allowed):
            lines.append(f"{name} {_seconds(measured)}, allowed are {allowed:g} s")
    if result.failures > options.max_failures:
        lines.append(f"{result.failures} requests failed, allowed are {options.max_failures}")
    if not result.images:
        lines.append("not a single image was drawn")
    elif result.images_per_second < options.min_images_per_second:
        lines.append(f"{result.images_per_second:.2f} images/s, wanted are {options.min_images_per_second:g}")
    return lines


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f} s"
