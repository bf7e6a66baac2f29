"""One picture of a fleet: what images cost the control plane, and how many samplers it keeps up with."""

from pathlib import Path

from loadtest.fleet import COLUMNS, Measurement

CONTROL = [hop for hop in COLUMNS if hop != "client"]


def draw(
    path: Path,
    curves: dict[int, list[dict[str, float]]],
    sampler_rate: float,
    measured: list[Measurement],
    before: list[Measurement],
) -> None:
    """Writes the picture.

    Args:
      curves: by gateways, a point for each number of samplers: `samplers`, `images_per_second`.
      sampler_rate: images a second of one sampler.
      measured: bars of CPU time for the ways of asking that the first service was asked in.
      before: the same of an earlier version, beside them; may be empty.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (costs, fleet) = pyplot.subplots(1, 2, figsize=(13, 5), layout="constrained")
    ways = [one for one in measured if one.setup == measured[0].setup]
    earlier = {one.way: one for one in before if one.setup == before[0].setup}
    bars = [
        (f"{one.way}\n{when}".rstrip(), one)
        for now in ways
        for when, one in (("before", earlier.get(now.way)), ("after" if earlier else "", now))
        if one is not None
    ]
    left = [0.0] * len(bars)
    for place, hop in enumerate(CONTROL):
        sizes = [one.cpu_ms[hop] for _, one in bars]
        costs.barh(range(len(bars)), sizes, left=left, label=hop, color=f"C{place}")
        left = [begin + size for begin, size in zip(left, sizes, strict=True)]
    costs.set_yticks(range(len(bars)), [name for name, _ in bars])
    costs.invert_yaxis()
    costs.set_xlabel("CPU milliseconds an image")
    costs.legend(fontsize="small")
    for gateways, points in curves.items():
        samplers = [point["samplers"] for point in points]
        rates = [point["images_per_second"] for point in points]
        fleet.plot(samplers, rates, marker="o", markersize=3, label=f"{gateways} gateway core{'s' * (gateways > 1)}")
    most = max(point["samplers"] for points in curves.values() for point in points)
    fleet.plot([0, most], [0, most * sampler_rate], "--", color="grey", label="what samplers could draw")
    fleet.set_xlabel(f"sampler replicas, {sampler_rate:g} images/s each (simulated)")
    fleet.set_ylabel("images/s, n = 9")
    fleet.grid(alpha=0.3)
    fleet.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
