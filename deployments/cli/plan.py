"""`dalle-serve plan`: what so many images a second need, from measurements of `dalle-serve bench`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.options import AsJson


def plan(
    bench: Annotated[list[Path], typer.Argument(help="Reports that `dalle-serve bench … --json` wrote, one a stage.")],
    images_per_second: Annotated[float, typer.Option(help="Images that clients are to get, on average.")],
    best_of: Annotated[int, typer.Option(min=1, help="Images drawn in a request.")] = 1,
    num_images: Annotated[int, typer.Option("-n", "--num-images", min=1, help="Of them returned.")] = 1,
    wait: Annotated[float, typer.Option(min=0, help="Seconds that an accepted image may wait.")] = 10.0,
    emissions: Annotated[
        float | None,
        typer.Option(
            min=0, help="Grams of CO2 equivalent a kWh where the devices are: say what is emitted. Not in --json."
        ),
    ] = None,
    watts: Annotated[float, typer.Option(min=0, help="With --emissions: what one device takes under load.")] = 700.0,
    as_json: AsJson = False,
) -> None:
    """Plans replicas, accelerators and queues for a mean load."""
    from rich.console import Console
    from rich.table import Table

    from deployments.scaling import planner

    costs = [cost for path in bench for cost in planner.read_costs(path)]
    made = planner.plan(costs, images_per_second=images_per_second, best_of=best_of, n=num_images, wait_s=wait)
    if as_json:
        print(json.dumps(made.settings(), indent=2))
        return
    table = Table("stage", "device", "batch", "s/batch", "images/s of a replica", "replicas", "busy")
    for part in made.stages:
        cost = part.cost
        numbers = (f"{cost.seconds:.3g}", f"{cost.images_per_second:.3g}", str(part.replicas), f"{part.busy:.0%}")
        table.add_row(cost.stage, cost.device, str(cost.images), *numbers)
    console = Console()
    console.print(table)
    console.print(
        f"{made.drawn_per_second:.3g} images/s are drawn; one takes {made.image_seconds:.3g} s without waiting; "
        f"max_pending_images {made.max_pending_images} in all. --json prints the settings."
    )
    console.print(
        f"Where all stages share one device, as on CPUs, a machine draws {made.shared_per_second:.3g} images/s at "
        f"most: that takes {made.shared_machines} of them."
    )
    if emissions is not None:
        emitted = made.emissions(watts, emissions)
        console.print(
            f"At {watts:g} W a device and {emissions:g} g of CO2 equivalent a kWh: {emitted.joules_per_image:.3g} J an "
            f"image, {emitted.kwh_per_day:.3g} kWh and {emitted.kg_per_day:.3g} kg a day: one device a replica, "
            "without the machines around them."
        )
