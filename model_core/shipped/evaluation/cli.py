"""`dalle-serve eval`: how good a model is, as a report with sheets and a plot."""

import datetime
import platform
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress


def evaluate(
    out: Annotated[Path, typer.Argument(help="Folder of the report.")],
    model: Annotated[str, typer.Option(help="Shipped name, folder, or Hugging Face id of a model.")] = "emoji",
    data: Annotated[Path | None, typer.Option(help="The data set it learned from, to measure each network on.")] = None,
    draws: Annotated[
        int, typer.Option(min=0, max=64, help="Pictures of every prompt: the largest best_of; 0: none.")
    ] = 16,
    prompts: Annotated[Path | None, typer.Option(help="A list of one's own: code point, tab, prompt.")] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="Only the first so many prompts.")] = None,
    kept: Annotated[Path, typer.Option(help="Where draws are kept, so that a stopped evaluation goes on.")] = Path(
        "runs/eval"
    ),
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pictures drawn together; else draws, up to 16.")
    ] = None,
) -> None:
    """Measure a model: each network by itself, and its pictures before a judge that took no part in them."""
    import jax

    from model_core.errors import InvalidValue
    from model_core.pipeline import Pipeline
    from model_core.shipped.evaluation.evaluation import measure_pictures
    from model_core.shipped.evaluation.networks import Networks
    from model_core.shipped.evaluation.prompts import PROMPTS, read_questions
    from model_core.shipped.evaluation.report import write_report
    from model_core.shipped.evaluation.wishes import measure_wishes
    from model_core.training.data import Dataset

    if data is None and draws == 0:
        raise InvalidValue("nothing to do: give a data set with --data, or some --draws.")
    dataset = Dataset.open(data) if data else None
    questions = read_questions(prompts or PROMPTS)[:limit]
    pipeline = Pipeline.from_model(model, batch_size=batch_size or min(16, max(draws, 1)))
    about = {
        "model": pipeline.bundle.id,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {jax.device_count()} × {jax.devices()[0].device_kind}",
        "sampling": ", ".join(f"{name} {value}" for name, value in pipeline.bundle.sampling.items()),
    }
    networks = Networks(pipeline.bundle).measure(dataset) if dataset else []
    pictures, sheets, wishes = None, None, []
    with Progress(console=Console(stderr=True)) as progress:
        if draws:
            bar = progress.add_task("drawing", total=len(questions))
            pictures, sheets = measure_pictures(pipeline, questions, draws, kept, lambda: progress.advance(bar))
        if draws and dataset:
            bar = progress.add_task("colours and styles", total=None)
            alone = Pipeline.from_model(model, batch_size=1)  # one draw a prompt: no others to compute beside it
            wishes = measure_wishes(alone, dataset, questions[::2], kept, lambda: progress.advance(bar))
    report = write_report(out, about, networks, pictures, sheets, wishes)
    for each in pictures.adherence if pictures else ():
        print(f"best of {each.best_of}: top-1 {each.top_1:.1%}, top-5 {each.top_5:.1%}")
    print(report)
