"""`dalle-serve serve` and `demo`: a service on this machine, until Ctrl-C or for one prompt."""

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.generate import check_fields, show
from deployments.cli.options import BestOf, Model, NumImages, Out, Port, Prompt, Scorer, Seed, Window
from deployments.cli.terminal import DrawingBar, steps, tell
from deployments.host import bind_problem, free_port
from deployments.stopping import stoppable
from model_core.errors import DalleServeError

if TYPE_CHECKING:
    from deployments.config import AppConfig


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    model: Model = "emoji",
    scorer: Scorer = None,
    keys_file: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File of API keys, one a line: only who sends one is let in.")
    ] = None,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Let other machines in, without a key.")] = False,
    window: Window = "auto",
    refine: Annotated[bool, typer.Option("--refine", help="Serve its refiner too, as the model ID:refine.")] = False,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Write Ray Serve's logs as JSON.")] = False,
) -> None:
    """Runs the service until Ctrl-C. Other machines are let in with keys only, or with --allow-remote."""
    from deployments.api.keys import Keys, check_exposure
    from deployments.config import AccessConfig
    from deployments.local import LocalService

    access = AccessConfig(keys_file=str(keys_file.resolve()) if keys_file else None, allow_remote=allow_remote)
    has_keys = bool(Keys(access).keys)  # raises where the file has none
    check_exposure(host, access)
    if problem := bind_problem(host, port):
        raise DalleServeError(problem)
    config = config_for(model, window, scorer, refine).model_copy(update={"access": access})
    local = LocalService(config, host=host, port=port, json_logs=json_logs, report=steps())
    with stoppable(), local as service:
        tell(f"Ready at [bold]{service.url}[/] (Ctrl-C stops it): open it in a browser, or try")
        tell(f"  {curl_line(service.url, needs_key=has_keys)}")
        with contextlib.suppress(KeyboardInterrupt):  # the ordinary way to end it
            threading.Event().wait()
        tell("Stopping …")


def curl_line(url: str, needs_key: bool) -> str:
    """What to type to have a picture drawn."""
    key = "-H 'Authorization: Bearer YOUR_KEY' " if needs_key else ""
    asked = """-H 'Content-Type: application/json' -d '{"prompt": "an avocado"}'"""
    return f"curl {url}/v1/images/generations {key}{asked}"


def demo(
    prompt: Prompt,
    num_images: NumImages = 4,
    best_of: BestOf = 8,
    seed: Seed = None,
    model: Model = "emoji",
    scorer: Scorer = None,
    out: Out = Path("out"),
) -> None:
    """Starts the service, draws a prompt over HTTP, writes the pictures, and stops the service."""
    from deployments.cli.client import draw
    from deployments.cli.gallery import check_folder, write_gallery
    from deployments.local import LocalService

    step = steps()
    fields = {"prompt": prompt, "n": num_images, "best_of": max(num_images, best_of or 1), "seed": seed}
    config = config_for(model, scorer=scorer)
    check_fields(fields, config.limits)
    check_folder(out)
    with stoppable():
        with LocalService(config, port=free_port(), report=step) as service:
            step(f"the service is ready at {service.url}")
            with DrawingBar() as bar:
                drawn = draw(service.url, fields, on_progress=bar.drawn, on_wait=bar.say)
            step(f"drew {fields['best_of']} images over HTTP and kept the best {num_images}")
            files = write_gallery(out, drawn)
            step(f"wrote {len(files)} files into {files[-1].parent}")
        step("stopped the service")
    show(drawn, files, as_json=False)


def config_for(model: str, window: str = "auto", scorer: str | None = None, refine: bool = False) -> "AppConfig":
    """Settings for one model on this machine; raises before anything is started where there is no such model."""
    from deployments.config import AppConfig, ClipScorerConfig, ModelConfig, RefinerConfig, TokenSamplerConfig
    from deployments.local import set_environment
    from model_core import bundles

    set_environment()
    bundle = bundles.resolve(model, scorer=scorer)
    source = scorer and _whole_path(scorer)
    model_id = bundle.id.replace("/", "--").replace("@", "--")  # Serve's names have no slashes
    return AppConfig(
        models=[
            ModelConfig(
                id=model_id,
                source=_whole_path(model),
                token_sampler=TokenSamplerConfig(window="auto" if window == "auto" else int(window)),
                clip_scorer=ClipScorerConfig(source=source) if bundle.scorer else None,
                refiner=RefinerConfig(source=source) if refine else None,
            )
        ]
    )


def _whole_path(name: str) -> str:
    """A folder's path from the root on, for other processes have other working directories; other names stay."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name
