"""A report as a table for people, a dict for programs, and a plot."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from model_core.bench.comparison import ComparisonReport
from model_core.bench.measurement import Measurement, Report
from model_core.errors import DalleServeError

GIB = 2**30
ABOVE_THE_LIMIT = (
    "More than 100% of the limit: weights that stay in the processor's caches are read faster than memory is, or other "
    "programs took this machine's time while its rates were measured."
)


def show(report: Report | ComparisonReport, console: Console) -> None:
    """Prints the machine's rates and a line for every measurement."""
    here = report.machine
    head = (
        f"{report.what} · {report.model} · {report.dtype} · "
        + " · ".join(f"{name} {value}" for name, value in report.settings.items()),
        f"{here.processor} · {here.device} · {here.threads} threads · jax {here.jax_version}",
        f"reads {here.read_bytes_per_s / 1e9:.1f} GB/s · multiplies {here.flops_per_s / 1e9:.0f} GFLOP/s "
        f"({here.product_side}³, {report.dtype})",
    )
    console.print("\n".join(head), soft_wrap=True)
    if isinstance(report, ComparisonReport):
        table = _table("", *report.ways, "ratio")
        for one in report.comparisons:
            table.add_row(one.what, f"{one.first:.4g}", f"{one.second:.4g}", f"{one.ratio:.3f}")
        console.print(table)
    else:
        console.print(_measurements(report.measurements))
        if any(one.limit_fraction > 1 for one in report.measurements):
            console.print(ABOVE_THE_LIMIT, soft_wrap=True)


def _measurements(measurements: tuple[Measurement, ...]) -> Table:
    """Narrow enough for 80 columns."""
    draws = any(one.codes_per_s for one in measurements)
    drawing = ("codes\ntried", "codes\na step", "s/\nimage", "codes\n/s", "first\nrow, s")
    names = drawing if draws else ("s/\nimage", "images/s")
    table = _table("images", *names, "limit\ns", "of the\nlimit", "bound by", "peak,\nGiB")
    for one in measurements:
        seconds = f"{one.s_per_image:.3g}"
        if draws:
            speed = (
                str(one.window),
                f"{one.codes_a_step:.2f}",
                seconds,
                f"{one.codes_per_s:.1f}",
                f"{one.first_row_s:.3g}",
            )
        else:
            speed = (seconds, f"{one.images_per_s:.3g}")
        limit = (f"{one.limit_s / one.images:.3g}", f"{one.limit_fraction:.0%}", one.bound)
        table.add_row(str(one.images), *speed, *limit, f"{one.peak_memory_bytes / GIB:.2f}")
    return table


def _table(*names: str) -> Table:
    table = Table(*names, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in table.columns:
        column.no_wrap = True
    return table


def as_dict(report: Report | ComparisonReport) -> dict[str, Any]:
    """For JSON."""
    content = asdict(report)
    if isinstance(report, Report):
        content["measurements"] = [one.as_dict() for one in report.measurements]
    return content


def write_plot(report: Report, path: Path) -> None:
    """Draws images/s over images at a time, with the limit, in the format of its ending.

    Raises:
      DalleServeError: the library for it is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DalleServeError(
            "A plot needs matplotlib: pip install 'dalle-serve[bench]', or leave --plot out."
        ) from error
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    counts = [one.images for one in report.measurements]
    axes.plot(counts, [one.images_per_s for one in report.measurements], "o-", label="measured")
    axes.plot(counts, [one.images / one.limit_s for one in report.measurements], "k--", label="limit")
    axes.set(title=f"{report.what}, {report.model}, {report.dtype}", xlabel="images at a time", ylabel="images/s")
    axes.set(xscale="log", yscale="log", xticks=counts, xticklabels=counts)
    axes.legend()
    figure.savefig(path)
