"""`dalle-serve train sweep`: learning rates on Ray Tune."""

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.terminal import results, steps
from deployments.stopping import stoppable
from model_core.errors import DalleServeError


def sweep(
    data: Annotated[Path, typer.Option(help="The data set of all trials, best one made by `train data encode`.")],
    run: Annotated[Path, typer.Option(help="The run whose model every trial begins with; it stays as it is.")],
    out: Annotated[Path, typer.Option(help="Folder of the trials and the two plots; gone on with where it is there.")],
    lr: Annotated[str, typer.Option(help="LOWEST:HIGHEST learning rate.")] = "1e-4:4e-3",
    trials: Annotated[int, typer.Option(min=1, help="How many rates to draw.")] = 16,
    steps_each: Annotated[int, typer.Option("--steps", min=1, help="Of a trial that is not stopped.")] = 2000,
    longer: Annotated[int, typer.Option(min=1, help="The best are trained for so many times the steps.")] = 4,
    best: Annotated[int, typer.Option(min=1, help="So many of them.")] = 4,
    preset: Annotated[str, typer.Option(help="As of `train sampler`.")] = "emoji",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Further values of the recipe.")] = None,
    validate: Annotated[
        list[Path] | None, typer.Option(help="Data set whose loss counts; else that of training.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Trials at a time.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="For each trial.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the drawing of rates.")] = 0,
    address: Annotated[str | None, typer.Option(help="A Ray cluster, or auto; else this machine.")] = None,
) -> None:
    """Find a learning rate: many for a short time, the bad ones stopped early, the best ones longer."""
    from deployments import ray_cluster
    from deployments.local import set_environment
    from deployments.sweep.search import Sweep, check, search

    set_environment()
    try:
        import ray.tune  # noqa: F401 - to see that it is there
    except ImportError as error:
        raise DalleServeError("Ray Tune is not installed: pip install 'dalle-serve[train,ray-train]'.") from error
    chosen = Sweep(
        data=data.resolve(),
        run=run.resolve(),
        preset=preset,
        **_range(lr),
        trials=trials,
        steps=steps_each,
        longer=longer,
        best=best,
        settings=tuple(settings or ()),
        validate=tuple(folder.resolve() for folder in validate or ()),
        parallel=parallel,
        gpus=gpus,
        seed=seed,
    )
    check(chosen)
    step, out = steps(), out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with stoppable(), ray_cluster.connected(address, step):
        found = search(chosen, out, step)
    from deployments.sweep.report import write_report

    line = write_report(chosen, found, out)
    results.print(f"{line}\n{out / 'curves.png'} {out / 'rates.png'} {out / 'sweep.json'}", soft_wrap=True)


def _range(text: str) -> dict[str, float]:
    lowest, _, highest = text.partition(":")
    try:
        return {"lowest": float(lowest), "highest": float(highest)}
    except ValueError as error:
        raise typer.BadParameter(
            f"must be LOWEST:HIGHEST, such as 1e-4:4e-3; got {text!r}.", param_hint="--lr"
        ) from error
