"""The command line: one function for each command, each in a file of its own kind.

Exit statuses: 0 done, 1 failed, 2 wrong arguments, 3 the service is busy or starting (try later), 130 interrupted.
What is heavy is imported only in the command that needs it, so that `--help` is instant.
"""

from importlib.metadata import version
from typing import Annotated

import typer

import model_core.shipped.cli  # noqa: F401  adds its commands to those of training
from deployments.cli import batch, bench, convert, doctor, generate, mcp_server, models, plan, refine, serve, sweep
from deployments.cli.terminal import ExplainingGroup
from model_core.shipped.evaluation.cli import evaluate
from model_core.training.cli import app as train_app

app = typer.Typer(
    cls=ExplainingGroup,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they would show keys
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"dalle-serve {version('dalle-serve')}")
        raise typer.Exit


@app.callback()
def main(
    asked: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turns prompts into pictures, with models that draw a picture as a row of image codes."""


app.command("serve")(serve.serve)
app.command("generate")(generate.generate)
app.command("refine")(refine.refine)
app.command("demo")(serve.demo)
app.command("batch")(batch.batch)
app.command("convert")(convert.convert)
app.command("doctor")(doctor.doctor)
app.command("plan")(plan.plan)
app.command("mcp")(mcp_server.mcp)
app.command("eval")(evaluate)
app.add_typer(models.app, name="models")
app.add_typer(bench.app, name="bench")
train_app.command("sweep")(sweep.sweep)
app.add_typer(train_app, name="train")
