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
    from model_core import bundles
    from model_core.weights import checkpoint
    from model_core.weights.weight_files import FLAX_WEIGHTS

    checkpoint.float_dtype(dtype)  # raises before anything is read
    bundle = bundles.resolve(source)
    unfinished = destination.with_name(f".{destination.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        _copy(bundle.codec.parent, unfinished)
        for role, folder in bundle.parts.items():
            _, _, params = bundles.ROLES[role].load(folder)
            _copy(folder, unfinished / folder.name)
            weights = unfinished / folder.name / FLAX_WEIGHTS
            checkpoint.save_params(weights, params, dtype)
            results.print(f"{destination / folder.name}: {weights.stat().st_size / 1e6:.1f} MB")
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
