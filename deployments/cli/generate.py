"""`dalle-serve generate`: a prompt becomes picture files, drawn in this process or by a running service."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from deployments.cli.options import AsJson, BestOf, NumImages, Out, Prompt, Scorer, Seed, Window, shipped_models
from deployments.cli.terminal import WRONG, DrawingBar, explain, results, warn
from model_core.errors import InvalidValue

if TYPE_CHECKING:
    from deployments.cli.client import DrawnImage
    from deployments.config import Limits


def generate(
    prompt: Prompt,
    num_images: NumImages = 1,
    best_of: BestOf = None,
    seed: Seed = None,
    negative_prompt: Annotated[str, typer.Option(help="What to keep away from.")] = "",
    guidance_scale: Annotated[float | None, typer.Option(help="How hard to follow the prompt.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Below 1 safer, above 1 wilder.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw each code from the k likeliest; 0 from all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the likeliest of this share; 1 from all.")] = None,
    diversity: Annotated[
        float | None, typer.Option(help="Of --best-of, leave out what differs by less; 0: none.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Shipped name, folder or Hugging Face id; with --url a model that is served there. Else the default.",
            autocompletion=shipped_models,
        ),
    ] = None,
    scorer: Scorer = None,
    window: Window = "auto",
    url: Annotated[str | None, typer.Option(help="Ask the service there, rather than draw in this process.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="DALLE_SERVE_API_KEY", help="For a service that asks for one.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for a service, busy times included.")] = 600,
    out: Out = Path("out"),
    as_json: AsJson = False,
) -> None:
    """Draws images of a prompt and writes them, best first, with a grid of all."""
    fields: dict[str, Any] = {
        "prompt": prompt,
        "n": num_images,
        "best_of": best_of,
        "seed": seed,
        "negative_prompt": negative_prompt,
        "guidance_scale": guidance_scale,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "diversity": diversity,
    }
    from deployments.cli.gallery import check_folder, write_gallery

    if url is not None and scorer is not None:
        raise typer.BadParameter("--scorer is for drawing in this process; a service has a scorer of its own.")
    check_fields(fields, _own_limits() if url is None else None)
    check_folder(out)
    with DrawingBar() as bar:
        if url is None:
            drawn = _draw_here(model or "emoji", scorer, window, fields, bar)
        else:
            from deployments.cli.client import draw

            fields["model"] = model
            drawn = draw(
                url,
                fields,
                timeout_s=timeout,
                api_key=api_key,
                on_progress=bar.drawn,
                on_wait=bar.say,
                on_warning=warn,
            )
    show(drawn, write_gallery(out, drawn), as_json)


def check_fields(fields: dict[str, Any], limits: "Limits | None" = None) -> None:
    """Ends the command where the service would refuse, in its words.

    Args:
      limits: of who will draw; without, how many images there may be is not looked at.
    """
    from deployments.config import Limits
    from deployments.requests.parsing import parse
    from deployments.requests.schemas import GenerationRequest

    counts = {"n", "best_of"} if limits is None else set()
    given = {name: value for name, value in fields.items() if name not in counts}
    try:
        parse(GenerationRequest, given, limits or Limits())
    except InvalidValue as error:
        explain(error)
        raise typer.Exit(WRONG) from error


def show(drawn: "list[DrawnImage]", files: list[Path], as_json: bool) -> None:
    """Prints what was drawn: as a table, with the grid where the terminal can show pictures, or as JSON."""
    grid = files[-1]
    if as_json:
        images = [
            {"file": str(file), "seed": image.seed, "clip_score": image.score}
            for file, image in zip(files, drawn, strict=False)
        ]
        print(json.dumps({"images": images, "grid": str(grid)}))
        return
    from deployments.cli.terminal_pictures import escape_codes

    table = Table("file", "seed", "clip score")
    for file, image in zip(files, drawn, strict=False):
        table.add_row(str(file), str(image.seed), "–" if image.score is None else f"{image.score:.2f}")
    table.add_row(str(grid), "", "")
    results.print(table)
    if results.is_terminal:
        sys.stdout.write(escape_codes(grid.read_bytes()))


def _own_limits() -> "Limits":
    from deployments.config import Limits
    from model_core.pipeline import MAX_BEST_OF, MAX_IMAGES

    return Limits(max_n=MAX_IMAGES, max_best_of=MAX_BEST_OF)


def _draw_here(
    model: str, scorer: str | None, window: str, fields: dict[str, Any], bar: DrawingBar
) -> "list[DrawnImage]":
    from deployments.local import set_environment

    set_environment()
    bar.say("loading the model")
    from deployments.cli.client import DrawnImage
    from model_core.pictures.images import encode_png
    from model_core.pipeline import Pipeline
    from model_core.vocabulary import low_score_warning

    pipeline = Pipeline.from_model(model, scorer=scorer, window=None if window == "auto" else int(window))
    if unknown := pipeline.bundle.vocabulary.warning(fields["prompt"]):
        warn(unknown)
    bar.say("compiling")
    drawn = pipeline.generate(**fields, on_progress=bar.drawn)
    if low := low_score_warning((image.score for image in drawn), pipeline.bundle.low_score):
        warn(low)
    return [DrawnImage(png=encode_png(image.image), seed=image.seed, score=image.score) for image in drawn]
