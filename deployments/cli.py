"""The command line: one function for each command, each in a file of its own kind.

Exit statuses: 0 done, 1 failed, 2 wrong arguments, 3 the service is busy or starting (try later), 130 interrupted.
What is heavy is imported only in the command that needs it, so that `--help` is instant.
"""

import typer

from deployments import cli_bench, cli_convert, cli_doctor, cli_generate, cli_models, cli_plan, cli_serve
from deployments.terminal import ExplainingGroup
from model_core.evaluation.cli import evaluate
from model_core.training.cli import app as train_app

app = typer.Typer(
    cls=ExplainingGroup,
    help="Turns prompts into pictures, with models of the DALL·E mini family.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they would show keys
)
app.command("serve")(cli_serve.serve)
app.command("generate")(cli_generate.generate)
app.command("demo")(cli_serve.demo)
app.command("convert")(cli_convert.convert)
app.command("doctor")(cli_doctor.doctor)
app.command("plan")(cli_plan.plan)
app.command("eval")(evaluate)
app.add_typer(cli_models.app, name="models")
app.add_typer(cli_bench.app, name="bench")
app.add_typer(train_app, name="train")
