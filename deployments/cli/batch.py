"""`dalle-serve batch`: a file of requests becomes pictures, on this machine or a cluster, without a service."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.options import AsJson, Model, Window
from deployments.cli.serve import config_for
from deployments.cli.terminal import FAILED, WRONG, DrawingBar, errors, results, steps
from deployments.stopping import stoppable
from model_core.errors import DalleServeError

if TYPE_CHECKING:
    from deployments.batches.lines import Line
    from deployments.config import AppConfig

READ_BYTES = 2**20
SHOWN_PROBLEMS = 10


def batch(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSONL, as POST /v1/batches takes it.")],
    out: Annotated[
        Path,
        typer.Option(file_okay=False, help="Folder for pictures and answers; with some of this batch in it, goes on."),
    ],
    model: Model = "emoji",
    settings: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A Serve file, whose models draw; else --model.")
    ] = None,
    window: Window = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw, each with all stages of the models.")] = 1,
    address: Annotated[str | None, typer.Option(help="A Ray cluster, or auto; else this machine.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draws a file of requests into a folder. Where that was broken off, the same command goes on with what is left."""
    from deployments.batches.lines import ENDPOINTS, read_lines
    from deployments.offline.results import ERRORS, OUTPUT, Results

    config = _config(settings, model, window)
    with file.open("rb") as opened:
        pieces = iter(lambda: opened.read(READ_BYTES), b"")
        lines, problems = read_lines(pieces, ENDPOINTS, max_lines=10**9, limits=config.limits)
    if problems:
        for problem in problems[:SHOWN_PROBLEMS]:
            errors.print(f"[red]{file}:[/]", problem.message, markup=True, soft_wrap=True)
        raise typer.Exit(WRONG)
    found = Results(out)
    with stoppable(), found.claimed(_about(lines, config)):
        done = found.done()
        left = [line for line in lines if line.number not in done]
        step = steps()
        step(f"{len(lines)} requests, of which {len(lines) - len(left)} are done")
        if left:
            _draw(left, config, out.resolve(), workers, address, step)
        drawn, failed = found.finish()
    if as_json:
        about = {"drawn": drawn, "failed": failed, "output": str(out / OUTPUT), "errors": str(out / ERRORS)}
        print(json.dumps(about))
    else:
        results.print(
            f"{drawn} requests drawn: {out / OUTPUT}" + (f"; {failed} failed: {out / ERRORS}" if failed else "")
        )
    if failed:
        raise typer.Exit(FAILED)


def _draw(lines: "list[Line]", config: "AppConfig", folder: Path, workers: int, address: str | None, step: Any) -> None:
    from deployments import ray_cluster
    from deployments.local import set_environment

    set_environment()
    try:
        import ray.data  # noqa: F401 - to see that it is there
    except ImportError as error:
        raise DalleServeError("Ray Data is not installed: pip install 'dalle-serve[batch]'.") from error
    from deployments.offline.drawing import draw_lines

    with DrawingBar() as bar, ray_cluster.connected(address, step):
        step(f"{workers} worker{'s' if workers > 1 else ''}: loading the model, and drawing {len(lines)} requests")
        total = len(lines)
        draw_lines(lines, config, folder, workers=workers, on_progress=lambda count: bar.drawn(count, total))
    step("done")


def _config(settings: Path | None, model: str, window: str) -> "AppConfig":
    if settings is None:
        return config_for(model, window)
    import yaml

    from deployments.local import set_environment
    from deployments.serve_file import read_settings

    set_environment()
    try:
        content = yaml.safe_load(settings.read_text(encoding="utf-8"))
        (application,) = (each for each in content["applications"] if each["import_path"].startswith("deployments."))
        return read_settings(application.get("args", {}))
    except (yaml.YAMLError, UnicodeError, KeyError, TypeError, ValueError) as error:
        raise DalleServeError(f"{settings} is no Serve file with one application of this project.") from error


def _about(lines: "list[Line]", config: "AppConfig") -> dict[str, Any]:
    """What the pictures depend on."""
    requests = hashlib.sha256(json.dumps(lines).encode()).hexdigest()
    drawn_by = [
        {"id": model.id, "source": model.location}
        | {name: stage.model_dump(include={"dtype", "slots", "deterministic"}) for name, stage in model.stages.items()}
        for model in config.models
    ]
    return {"requests": requests, "models": drawn_by, "default_model": config.default_model_id}
