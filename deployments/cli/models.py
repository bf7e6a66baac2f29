"""`dalle-serve models`: what is on this machine, and how to get more."""

import shlex
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from deployments.cli.terminal import DrawingBar, results, tell

app = typer.Typer(help="The models on this machine, and those that can be had.", invoke_without_command=True)


@app.callback()
def list_models(context: typer.Context) -> None:
    """Lists the models that come with the package and those that can be downloaded, unless a subcommand says otherwise.

    A model may be on this machine without being listed: a folder is named by its path.
    """
    if context.invoked_subcommand is not None:
        return
    from model_core import bundles
    from model_core.releases import RELEASES

    table = Table("id", "size", "licence", "description", title="Here", title_justify="left")
    for name in bundles.shipped():
        bundle = bundles.resolve(name)
        table.add_row(bundle.id, f"{bundle.size}x{bundle.size}", bundle.licence, bundle.description)
    results.print(table)
    table = Table(
        Column("id", no_wrap=True), "GB", "licence", "what it is", title="To be had: dalle-serve models download ID"
    )
    table.title_justify = "left"
    for release in RELEASES:
        if not release.instead:
            table.add_row(release.id, f"{release.gigabytes:g}", release.licence, release.what)
    results.print(table)


@app.command()
def download(
    hub_id: Annotated[str, typer.Argument(metavar="ID", help="A Hugging Face id, org/name; or one that is listed.")],
    file: Annotated[
        list[str] | None,
        typer.Option(
            help="Fetch these files of it, for convert, in place of what a model consists of; may be a pattern."
        ),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept a licence that forbids something, such as commercial use.")
    ] = False,
) -> None:
    """Downloads a model, or one part of a model, and prints the folder where it is.

    The licence and what to do next are said on stderr.
    """
    from model_core import bundles, releases

    release = releases.find(hub_id)
    if release and not release.instead:
        tell(f"{escape(release.what)}, {release.gigabytes:g} GB. Licence of the weights: {escape(release.licence)}")
    elif not release:
        tell(f"Its licence is not known here; see https://huggingface.co/{escape(hub_id.partition('@')[0])}")
    bar = DrawingBar()
    with bar if release and release.archive else nullcontext():  # Hugging Face's client has bars of its own
        folder = bundles.fetch(hub_id, files=file or (), accept_licence=accept_licence, on_bytes=bar.fetched)
    print(folder)
    if release and release.steps and not file:
        tell("Next:")
        for step in release.steps:
            tell(f"  {escape(step.format(folder=shlex.quote(str(folder))))}")
