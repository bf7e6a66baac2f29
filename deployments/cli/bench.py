"""`dalle-serve bench …`: what a model does on this machine, stage by stage, beside what the machine could do.

Imports what is heavy only in the command that needs it, so that `--help` is instant.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.options import Model as ServedModel
from deployments.cli.terminal import results, steps
from deployments.host import stoppable

if TYPE_CHECKING:
    from model_core.bench.comparison import ComparisonReport
    from model_core.bench.measurement import Report

app = typer.Typer(
    no_args_is_help=True,
    help="What will this model do on my hardware? Times beside the limit that this machine sets.",
)


def _counts(value: str) -> list[int]:
    """Reads "1,4,16"."""
    counts = [int(part) if part.strip().isdecimal() else 0 for part in value.split(",")]
    if not all(counts):
        raise typer.BadParameter(f"{value!r} is not a list of numbers above 0, such as 1,4,16.")
    return counts


Model = Annotated[
    str,
    typer.Option(
        help="Shipped name or folder; or mini, mega, malevich or mindalle: random weights of the public model's size."
    ),
]
Images = Annotated[str, typer.Option(help="How many images at a time; several, with commas.")]
DType = Annotated[str, typer.Option("--dtype", help="float32, bfloat16 or float16.")]
Deterministic = Annotated[
    bool, typer.Option(help="As the service's setting, which is on on a CPU: no bit of an image depends on the others.")
]
Repeats = Annotated[int, typer.Option(min=1, help="Runs of each, of which the median counts.")]
Json = Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write the report here too.")]
Plot = Annotated[Path | None, typer.Option("--plot", dir_okay=False, help="Draw images/s here: .svg, .png or .pdf.")]


@app.command()
def engine(
    model: Model = "emoji",
    images: Images = "1,4,16",
    guidance_scale: Annotated[
        float | None, typer.Option(help="Of all images; 1 saves half of the work. Else the model's default.")
    ] = None,
    dtype: DType = "float32",
    deterministic: Deterministic = False,
    codes: Annotated[
        int | None, typer.Option(min=1, help="Draw so many from the middle of the image, and scale the time up.")
    ] = None,
    repeats: Repeats = 3,
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """Conditions to image codes: the sampler's steps, which take most of the time."""
    settings = {"deterministic": deterministic, "guidance_scale": guidance_scale, "num_codes": codes}
    report = _bench("engine")(model, _counts(images), dtype=dtype, repeats=repeats, **settings)
    _hand_over(report, json_file, plot)


@app.command()
def decoder(
    model: Model = "emoji",
    images: Images = "1,8",
    dtype: DType = "float32",
    repeats: Repeats = 5,
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """Image codes to images: the codec's decoder."""
    _hand_over(_bench("decoder")(model, _counts(images), dtype=dtype, repeats=repeats), json_file, plot)


@app.command()
def scorer(
    model: Model = "emoji",
    images: Images = "1,8",
    dtype: DType = "float32",
    repeats: Repeats = 5,
    size: Annotated[int, typer.Option(min=1, help="Side of the pictures, in pixels.")] = 256,
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """Images and a prompt to scores."""
    _hand_over(_bench("scorer")(model, _counts(images), dtype=dtype, repeats=repeats, size=size), json_file, plot)


@app.command()
def batching(
    model: Model = "emoji",
    slots: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 16,
    images: Annotated[int, typer.Option(min=1, help="That arrive at random times.")] = 300,
    load: Annotated[float, typer.Option(min=0.01, help="Their rate, by what static batching can do.")] = 0.8,
    dtype: DType = "float32",
    deterministic: Deterministic = False,
    repeats: Repeats = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the times and the order.")] = 0,
    json_file: Json = None,
) -> None:
    """Continuous beside static batching: throughput while images wait, latency of those that arrive at random times."""
    settings = {"slots": slots, "images": images, "load": load, "deterministic": deterministic, "seed": seed}
    with stoppable():
        report = _bench("batching")(model, dtype=dtype, repeats=repeats, report=steps(), **settings)
    _hand_over(report, json_file)


@app.command()
def overhead(
    model: Model = "emoji",
    images: Images = "1,8",
    dtype: DType = "float32",
    deterministic: Deterministic = False,
    repeats: Repeats = 9,
    json_file: Json = None,
) -> None:
    """The engine beside the same decoder steps in a bare loop."""
    report = _bench("overhead")(model, _counts(images), dtype=dtype, deterministic=deterministic, repeats=repeats)
    _hand_over(report, json_file)


@app.command()
def serve(
    model: ServedModel = "emoji",
    images: Annotated[int, typer.Option(min=1, help="Of the request.")] = 9,
    repeats: Repeats = 5,
    json_file: Json = None,
) -> None:
    """A request over HTTP to a service of its own, beside the same images drawn in this process."""
    from deployments.cli.bench_serve import bench_serve

    with stoppable():
        report = bench_serve(model, images=images, repeats=repeats, report=steps())
    results.print(
        f"{report.model}, {images} images a request: served {report.served_s:.2f} s, "
        f"in process {report.in_process_s:.2f} s, ratio {report.ratio:.3f}"
    )
    if json_file:
        json_file.write_text(json.dumps(report._asdict(), indent=2) + "\n")


def _bench(what: str) -> Any:
    """The function of that bench, imported with the environment in place."""
    from deployments.local import set_environment

    set_environment()
    return getattr(import_module(f"model_core.bench.{what}"), f"bench_{what}")


def _hand_over(report: "Report | ComparisonReport", json_file: Path | None, plot: Path | None = None) -> None:
    from model_core.bench.measurement import Report
    from model_core.bench.report import show, write_json, write_plot

    show(report, results)
    if json_file:
        write_json(report, json_file)
    if plot and isinstance(report, Report):
        write_plot(report, plot)
