"""The command line: serve, generate, demo, models, train.

Imports what is heavy only in the command that needs it, so that `--help` is instant.
"""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from model_core.errors import DalleServeError
from model_core.training.cli import app as train_app

if TYPE_CHECKING:
    from deployments.client import DrawnImage
    from deployments.config import AppConfig

app = typer.Typer(
    help="Turns prompts into pictures, with models of the DALL·E mini family.",
    no_args_is_help=True,
    add_completion=False,
)
models_app = typer.Typer(help="The models on this machine.", invoke_without_command=True)
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train")

console = Console(stderr=True, highlight=False)

Model = Annotated[str, typer.Option(help="Shipped name, folder, or Hugging Face id of a model.")]
Prompt = Annotated[str, typer.Argument(help="What to draw.")]
Seed = Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="The same seed draws the same images.")]
NumImages = Annotated[int, typer.Option("-n", "--num-images", min=1, help="How many images to keep.")]
BestOf = Annotated[int | None, typer.Option(min=1, help="Draw this many and keep the best.")]
Out = Annotated[Path, typer.Option(file_okay=False, help="Folder for the pictures.")]


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    model: Model = "emoji",
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Let other machines in, without a key.")] = False,
) -> None:
    """Runs the service until Ctrl-C."""
    from deployments.local import LocalService, is_free, is_loopback

    with _explained():
        if not is_loopback(host) and not allow_remote:
            raise DalleServeError(f"{host} can be reached from other machines. If you mean it, add --allow-remote.")
        if not is_free(host, port):
            raise DalleServeError(
                f"Port {port} on {host} is taken. Stop what listens there, or choose another: --port."
            )
        config = _config_for(model)
        with _stoppable(), LocalService(config, host=host, port=port, report=_step()) as service:
            console.print(f"Ready at [bold]{service.url}[/] (Ctrl-C stops it). Try:")
            console.print(
                f"  curl {service.url}/v1/images/generations -H 'Content-Type: application/json' "
                '-d \'{"prompt": "an avocado"}\'',
                soft_wrap=True,
            )
            with contextlib.suppress(KeyboardInterrupt):  # the ordinary way to end it
                threading.Event().wait()
            console.print("Stopping …")


@app.command()
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
    model: Model = "emoji",
    url: Annotated[str | None, typer.Option(help="Ask the service there, rather than draw in this process.")] = None,
    out: Out = Path("out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print files, seeds and scores as JSON.")] = False,
) -> None:
    """Draws images of a prompt and writes them, best first, with a grid of all."""
    from deployments.gallery import write_gallery

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
    }
    with _explained():
        if url is None:
            drawn = _draw_here(model, fields)
        else:
            from deployments.client import draw

            drawn = draw(url, fields if model == "emoji" else fields | {"model": model})
        _show(drawn, write_gallery(out, drawn), as_json)


@app.command()
def demo(
    prompt: Prompt,
    num_images: NumImages = 4,
    best_of: BestOf = 8,
    seed: Seed = None,
    model: Model = "emoji",
    out: Out = Path("out"),
) -> None:
    """Starts the service, draws a prompt over HTTP, writes the pictures, and stops the service."""
    from deployments.client import draw
    from deployments.gallery import write_gallery
    from deployments.local import LocalService, free_port

    step = _step()
    with _explained(), _stoppable():
        config = _config_for(model)
        fields = {"prompt": prompt, "n": num_images, "best_of": max(num_images, best_of or 1), "seed": seed}
        with LocalService(config, port=free_port(), report=step) as service:
            step(f"the service is ready at {service.url}")
            drawn = draw(service.url, fields)
            step(f"drew {fields['best_of']} images over HTTP and kept the best {num_images}")
            files = write_gallery(out, drawn)
            step(f"wrote {len(files)} files")
        step("stopped the service")
        _show(drawn, files, as_json=False)


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """Lists the models that come with the package, unless a subcommand says otherwise."""
    if context.invoked_subcommand is not None:
        return
    from model_core import bundles

    table = Table("id", "size", "licence", "description")
    for name in bundles.shipped():
        bundle = bundles.resolve(name)
        table.add_row(bundle.id, f"{bundle.size}x{bundle.size}", bundle.licence, bundle.description)
    Console().print(table)


@models_app.command()
def download(hub_id: Annotated[str, typer.Argument(metavar="ID", help="A Hugging Face id, org/name.")]) -> None:
    """Downloads a model, or one part of a model, from Hugging Face."""
    from model_core import bundles

    with _explained():
        print(bundles.fetch(hub_id))


def _config_for(model: str) -> "AppConfig":
    """Settings for one model on this machine; raises before anything is started where there is no such model."""
    from deployments.config import AppConfig, ClipScorerConfig, ModelConfig
    from deployments.local import set_environment
    from model_core import bundles

    set_environment()
    bundle = bundles.resolve(model)
    source = str(Path(model).expanduser().resolve()) if Path(model).expanduser().is_dir() else model
    model_id = bundle.id.replace("/", "--").replace("@", "--")  # Serve's names have no slashes
    scorer = ClipScorerConfig() if bundle.clip else None
    return AppConfig(models=[ModelConfig(id=model_id, source=source, clip_scorer=scorer)])


def _draw_here(model: str, fields: dict[str, Any]) -> "list[DrawnImage]":
    from deployments.client import DrawnImage
    from deployments.local import set_environment

    set_environment()
    with console.status("loading the model"):
        from model_core.images import encode_png
        from model_core.pipeline import Pipeline

        pipeline = Pipeline.from_model(model)
    with console.status("drawing"):
        drawn = pipeline.generate(**fields)
    return [DrawnImage(png=encode_png(image.image), seed=image.seed, score=image.score) for image in drawn]


def _show(drawn: "list[DrawnImage]", files: list[Path], as_json: bool) -> None:
    if as_json:
        images = [
            {"file": str(file), "seed": image.seed, "clip_score": image.score}
            for file, image in zip(files, drawn, strict=False)
        ]
        print(json.dumps({"images": images, "grid": str(files[-1])}))
        return
    table = Table("file", "seed", "clip score")
    for file, image in zip(files, drawn, strict=False):
        table.add_row(str(file), str(image.seed), "–" if image.score is None else f"{image.score:.2f}")
    table.add_row(str(files[-1]), "", "")
    Console().print(table)


def _step() -> Any:
    """Prints a line for every step, with the seconds since the first was waited for."""
    began = time.monotonic()
    return lambda line: console.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {line}", soft_wrap=True)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Errors raised on purpose become one line and exit status 1; Ctrl-C becomes 130."""
    try:
        yield
    except DalleServeError as error:
        console.print("[red]Error:[/]", escape(str(error)), soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM interrupts what goes on; later ones must not interrupt the cleaning up."""
    interrupted = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
