"""`dalle-serve refine`: a picture is led towards a prompt by gradient, in this process or by a running service."""

import base64
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.generate import show
from deployments.cli.options import AsJson, Model, Out, Scorer, Seed
from deployments.cli.terminal import DrawingBar, warn

if TYPE_CHECKING:
    import numpy as np

    from deployments.cli.client import DrawnImage
    from model_core.bundles import Bundle

FRAME_MS = 120  # of the way as a GIF


def refine(
    prompt: Annotated[str, typer.Argument(help="What to lead the picture towards.", show_default=False)],
    image: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Picture to begin with; else one is drawn.")
    ] = None,
    noise: Annotated[bool, typer.Option("--noise", help="Begin with noise.")] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(help="A further prompt, `WEIGHT TEXT`: `0.5 in a forest`, or `-1 a face` to lead away from it."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of gradient descent.")] = None,
    cutouts: Annotated[int | None, typer.Option(min=1, help="Parts of the picture looked at in a step.")] = None,
    init_weight: Annotated[float | None, typer.Option(min=0, help="How hard it is held to its start.")] = None,
    seed: Seed = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the picture; else the model's own.")] = "auto",
    model: Model = "emoji",
    scorer: Scorer = None,
    url: Annotated[str | None, typer.Option(help="Ask the service there, rather than refine in this process.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="DALLE_SERVE_API_KEY", help="For a service that asks for one.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for a service, busy times included.")] = 600,
    way: Annotated[Path | None, typer.Option(dir_okay=False, help="GIF of the way, refined in this process.")] = None,
    out: Out = Path("out"),
    as_json: AsJson = False,
) -> None:
    """Leads a picture towards a prompt: one of yours, one that is drawn first, or noise."""
    if image is not None and noise:
        raise typer.BadParameter("--noise and --image are two beginnings; give one of them.")
    if url is not None and (scorer is not None or way is not None):
        raise typer.BadParameter("--scorer and --way are for refining in this process.")
    from deployments.cli.gallery import check_folder, write_gallery

    fields: dict[str, Any] = {
        "prompt": prompt,
        "prompts": [_weighted(words) for words in also or ()] or None,
        "steps": steps,
        "cutouts": cutouts,
        "init_weight": init_weight,
        "seed": seed,
        "size": size,
    }
    check_folder(out)
    with DrawingBar() as bar:
        if url is None:
            refined = _refine_here(model, scorer, image, noise, fields, way, bar)
        else:
            from deployments.cli.client import draw

            fields |= {"model": f"{model}:refine", "start": "noise" if noise else None}
            if image is not None:
                address = f"data:image/*;base64,{base64.b64encode(image.read_bytes()).decode()}"
                fields["images"] = [{"image_url": address}]
            refined = draw(
                url,
                fields,
                timeout_s=timeout,
                api_key=api_key,
                on_progress=bar.drawn,
                on_wait=bar.say,
                on_warning=warn,
            )
    show(refined, write_gallery(out, refined), as_json)


def _weighted(words: str) -> dict[str, Any]:
    weight, _, text = words.strip().partition(" ")
    try:
        return {"text": text.strip(), "weight": float(weight)}
    except ValueError:
        raise typer.BadParameter(f"--also {words!r} is to be a weight, a space and a text: '-1 a face'.") from None


def _refine_here(
    model: str,
    scorer: str | None,
    image: Path | None,
    noise: bool,
    fields: dict[str, Any],
    way: Path | None,
    bar: DrawingBar,
) -> "list[DrawnImage]":
    from deployments.local import set_environment

    set_environment()
    bar.say("loading the model")
    from deployments.cli.client import DrawnImage
    from deployments.config import Limits
    from deployments.errors import no_scorer
    from deployments.requests.parsing import parse_size
    from model_core import bundles
    from model_core.pictures.images import encode_png, write_gif
    from model_core.refine.refiner import Refiner
    from model_core.refine.values import INIT_WEIGHT, Refinement

    bundle = bundles.resolve(model, scorer=scorer)
    if bundle.scorer is None:
        raise no_scorer(model)
    width, height = parse_size(fields["size"], bundle.size, Limits())
    refiner = Refiner(bundle.codec, bundle.scorer, sizes=[(height, width)])
    given: dict[str, Any] = {} if noise else {"init_weight": INIT_WEIGHT}
    given |= {name: fields[name] for name in ("steps", "cutouts", "init_weight") if fields[name] is not None}
    more = tuple((each["text"], each["weight"]) for each in fields["prompts"] or ())
    seed = secrets.randbits(32) if fields["seed"] is None else fields["seed"]
    refinement = Refinement(texts=((fields["prompt"], 1.0), *more), seed=seed, size=(height, width), **given)
    start = None if noise else _start(bundle, image, refinement.texts[0][0], seed, (width, height), bar)
    bar.say("compiling")
    frames = []
    for last in refiner.refine(refinement, start):
        frames.append(last.image)
        bar.drawn(last.step, refinement.steps)
    if way is not None:
        write_gif(way, frames, FRAME_MS)
    return [DrawnImage(png=encode_png(last.image), seed=seed, score=last.score)]


def _start(
    bundle: "Bundle", image: Path | None, prompt: str, seed: int, size: tuple[int, int], bar: DrawingBar
) -> "np.ndarray":
    from model_core.pictures.images import fit, read_image
    from model_core.pipeline import Pipeline

    if image is not None:
        return fit(read_image(image), *size)
    bar.say("drawing")
    return fit(Pipeline(bundle).generate(prompt, seed=seed)[0].image, *size)
