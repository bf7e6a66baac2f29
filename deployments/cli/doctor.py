"""`dalle-serve doctor`: prints what `checks.py` finds, and fails where something is bad."""

import dataclasses
import json
from typing import Annotated

import typer
from rich.markup import escape

from deployments.cli.options import AsJson, Model, Port, Scorer
from deployments.cli.terminal import FAILED, errors, results

MARKS = {"good": "[green]✓[/]", "doubtful": "[yellow]![/]", "bad": "[red]✗[/]"}


def doctor(
    model: Model = "emoji",
    scorer: Scorer = None,
    host: Annotated[str, typer.Option(help="Address that the service is to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    as_json: AsJson = False,
) -> None:
    """Says what is wrong with an installation: versions, port, devices, the model's files, and what fits the memory."""
    from deployments.cli.checks import examine

    findings = []
    with errors.status("examining"):
        for finding in examine(model, host, port, scorer):
            findings.append(finding)
            if not as_json:
                results.print(
                    MARKS[finding.status], f"[bold]{finding.subject}[/]", escape(finding.message), soft_wrap=True
                )
                if finding.advice:
                    results.print("   ", escape(finding.advice), soft_wrap=True)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    if any(finding.status == "bad" for finding in findings):
        raise typer.Exit(FAILED)
