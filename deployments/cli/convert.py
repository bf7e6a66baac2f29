"""`dalle-serve convert`: rewrites a model's weights in one layout and one dtype.

Whatever is read (stacked or unrolled layers, PyTorch's CLIP, any float dtype) is written as Flax msgpack with stacked
layers, the layout that loads with the least memory and time.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.terminal import results
from model_core.errors import InvalidValue

COPIED = ("*.json", "merges.txt", "enwiki-words-frequency.txt", "*.md")


def convert(
    source: Annotated[str, typer.Argument(help="Shipped name, folder or Hugging Face id of a model.")],
    destination: Annotated[Path, typer.Argument(file_okay=False, help="Folder of the new model; must not exist.")],
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float16",
) -> None:
    """Rewrites a model in one dtype: float16 halves the size on disk of what is published as float32."""
    from deployments.local import set_environment

    if destination.exists():
        raise InvalidValue(f"{destination} exists already: name a folder that does not, or remove it.", "destination")
    set_environment()
    from model_core.inspection import LOADERS
    from model_core.weights import bundles, checkpoint

    checkpoint.float_dtype(dtype)  # raises before anything is read
    bundle = bundles.resolve(source)
    unfinished = destination.with_name(f".{destination.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        _copy(bundle.vqgan.parent, unfinished)
        for part, load in LOADERS.items():
            if folder := getattr(bundle, part):
                _, params = load(folder)
                _copy(folder, unfinished / part)
                checkpoint.save_params(unfinished / part / checkpoint.FLAX_WEIGHTS, params, dtype)
                size = (unfinished / part / checkpoint.FLAX_WEIGHTS).stat().st_size
                results.print(f"{destination / part}: {size / 1e6:.1f} MB")
        unfinished.rename(destination)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _copy(source: Path, destination: Path) -> None:
    """Copies configs, tokenizers and cards; never the weights."""
    destination.mkdir(exist_ok=True)
    for pattern in COPIED:
        for file in source.glob(pattern):
            if not file.name.endswith(".index.json"):
                shutil.copy(file, destination)
