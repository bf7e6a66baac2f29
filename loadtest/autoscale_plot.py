"""One picture of an autoscaling run: load, queue, replicas and latency over the same time."""

import math
from pathlib import Path
from typing import Any

WINDOW_S = 5.0  # over which rates are averaged


def draw(rows: list[dict[str, Any]], answers: list[tuple[float, float, str]], path: Path, title: str) -> None:
    """Writes the picture.

    Args:
      rows: seconds, arrived and answered so far, pending, active, waiting, `batch answered` and `batch active`,
        `replicas NAME` and `wanted NAME`; a row for each moment.
      answers: when, after how many seconds, of what kind.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes_of_all = pyplot.subplots(4, 1, sharex=True, figsize=(11, 10), layout="constrained")
    load, queue, replicas, latency = axes_of_all
    seconds = [row["seconds"] for row in rows]
    load.plot(seconds, rates(rows, "arrived"), label="requests sent /s")
    load.plot(seconds, rates(rows, "answered"), label="answered /s")
    if has_batch := any(row["batch answered"] for row in rows):
        load.plot(seconds, rates(rows, "batch answered"), label="of a batch answered /s")
    load.set_ylabel("load")
    queue.plot(seconds, [row["pending"] for row in rows], label="images pending")
    queue.plot(seconds, [row["waiting"] for row in rows], label="of them waiting for a slot")
    queue.plot(seconds, [row["active"] for row in rows], label="of them in a slot")
    if has_batch:
        queue.fill_between(seconds, [row["batch active"] for row in rows], alpha=0.4, label="of a batch in a slot")
    queue.set_ylabel("queue")
    names = sorted({name.partition(" ")[2] for row in rows for name in row if name.startswith("replicas ")})
    for place, name in enumerate(names):
        aside = 0.04 * place  # lines side by side where they are equal
        (line,) = replicas.step(
            seconds, [row.get(f"replicas {name}", 0) + aside for row in rows], where="post", label=name
        )
        wanted = [row.get(f"wanted {name}", math.nan) + aside for row in rows]
        replicas.step(seconds, wanted, where="post", linestyle=":", color=line.get_color())
    replicas.set_ylabel("replicas (dotted: wanted)")
    for kind in sorted({kind for _, _, kind in answers}):
        ended = [(when, took) for when, took, other in answers if other == kind]
        latency.scatter(*zip(*ended, strict=True), s=9, label=kind)
    latency.set_ylabel("latency, s")
    latency.set_xlabel("seconds")
    for axes in axes_of_all:
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")  # beside the lines, not over them
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def rates(rows: list[dict[str, Any]], name: str) -> list[float]:
    """A running count → how much it rose a second, over the last seconds."""
    found = []
    for place, row in enumerate(rows):
        first = next(other for other in rows[: place + 1] if other["seconds"] >= row["seconds"] - WINDOW_S)
        elapsed = row["seconds"] - first["seconds"]
        found.append((row[name] - first[name]) / elapsed if elapsed else 0.0)
    return found
