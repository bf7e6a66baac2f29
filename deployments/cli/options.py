"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def shipped_models() -> list[str]:
    """What a shell completes after `--model`."""
    from model_core import bundles

    return bundles.shipped()


Model = Annotated[
    str, typer.Option(help="Shipped name, folder, or Hugging Face id of a model.", autocompletion=shipped_models)
]

Scorer = Annotated[
    str | None,
    typer.Option(
        help="What ranks the images: folder or Hugging Face id of a scorer, or of a model that has one; else its own."
    ),
]


def _window(value: str) -> str:
    """Refuses what is neither a number above 0 nor auto."""
    if value != "auto" and not (value.isdecimal() and int(value)):
        raise typer.BadParameter(f"{value!r} is neither auto nor a number above 0, such as 8.")
    return value


Window = Annotated[
    str,
    typer.Option(callback=_window, help="Codes that a step tries to draw: auto or a number. The same images, sooner."),
]
Prompt = Annotated[str, typer.Argument(help="What to draw.", show_default=False)]
Seed = Annotated[
    int | None, typer.Option(help=f"The same seed, up to {2**32 - 1}, draws the same images; else a random one.")
]
NumImages = Annotated[int, typer.Option("-n", "--num-images", min=1, help="How many images to keep.")]
BestOf = Annotated[int | None, typer.Option(min=1, help="Draw this many and keep the best.")]
Out = Annotated[Path, typer.Option(file_okay=False, help="Folder for the pictures.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]
