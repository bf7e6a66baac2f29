"""`dalle-serve models`: what is on this machine, and how to get more."""

from typing import Annotated

import typer
from rich.table import Table

from deployments.cli.terminal import results

app = typer.Typer(help="The models on this machine.", invoke_without_command=True)


@app.callback()
def list_models(context: typer.Context) -> None:
    """Lists the models that come with the package, unless a subcommand says otherwise."""
    if context.invoked_subcommand is not None:
        return
    from model_core import bundles

    table = Table("id", "size", "licence", "description")
    for name in bundles.shipped():
        bundle = bundles.resolve(name)
        table.add_row(bundle.id, f"{bundle.size}x{bundle.size}", bundle.licence, bundle.description)
    results.print(table)


@app.command()
def download(hub_id: Annotated[str, typer.Argument(metavar="ID", help="A Hugging Face id, org/name.")]) -> None:
    """Downloads a model, or one part of a model, from Hugging Face."""
    from model_core import bundles

    print(bundles.fetch(hub_id))
