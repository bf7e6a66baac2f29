"""`dalle-serve convert`: rewrites a model's weights in one layout and one dtype.

A model that loads already (stacked or unrolled layers, PyTorch's CLIP, any float dtype) is written as Flax msgpack with
stacked layers, the layout that loads with the least memory and time. Published PyTorch files, which the service does
not read, become a model's folder of safetensors.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.terminal import results
from model_core.errors import InvalidValue

COPIED = ("*.json", "merges.txt", "enwiki-words-frequency.txt", "*.md")


def convert(
    source: Annotated[
        str, typer.Argument(help="Shipped name, folder or Hugging Face id of a model; or published PyTorch files.")
    ],
    destination: Annotated[Path, typer.Argument(file_okay=False, help="Folder of the new model; must not exist.")],
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, float16 or bfloat16. Without it: float16; of PyTorch files, what they have."),
    ] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="Another file or folder of PyTorch files: a codec or tokenizer.")
    ] = None,
) -> None:
    """Rewrites a model in one dtype, or makes one of published PyTorch files (.pt, .ckpt, .bin, .pkl).

    PyTorch files are read as data: nothing of them is run, and PyTorch is not needed.
    """
    from deployments.local import set_environment

    if destination.exists():
        raise InvalidValue(f"{destination} exists already: name a folder that does not, or remove it.", "destination")
    set_environment()
    from model_core.conversion import convert as conversion
    from model_core.weights import checkpoint

    checkpoint.float_dtype(dtype or "float16")  # raises before anything is read
    unfinished = destination.with_name(f".{destination.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        if conversion.is_published(Path(source)):
            written = conversion.convert(Path(source), unfinished, destination.name, dtype, also or [])
        else:
            written = _rewrite(source, unfinished, dtype or "float16")
        unfinished.rename(destination)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for name, size in written.items():
        results.print(f"{destination / name}: {size / 1e6:.1f} MB", soft_wrap=True)


def _rewrite(source: str, destination: Path, dtype: str) -> dict[str, int]:
    """Writes a model that loads already as Flax msgpack; gives the bytes of the weights of each of its folders.

    Raises:
      InvalidValue: a part of it is never read from Flax msgpack.
    """
    from model_core import bundles
    from model_core.weights import checkpoint
    from model_core.weights.weight_files import FLAX_WEIGHTS

    bundle = bundles.resolve(source)
    for role, folder in bundle.parts.items():
        if FLAX_WEIGHTS not in bundles.ROLES[role].of_folder(folder).WEIGHTS:
            raise InvalidValue(
                f"{source} needs no conversion: its {role} is read as it is, as safetensors. In which numbers a stage "
                "computes is a setting of the stage, dtype.",
                "source",
            )
    _copy(bundle.codec.parent, destination)
    written = {}
    for role, folder in bundle.parts.items():
        _, _, params = bundles.ROLES[role].load(folder)
        _copy(folder, destination / folder.name)
        weights = destination / folder.name / FLAX_WEIGHTS
        checkpoint.save_params(weights, params, dtype)
        written[folder.name] = weights.stat().st_size
    return written


def _copy(source: Path, destination: Path) -> None:
    """Copies configs, tokenizers and cards; never the weights."""
    destination.mkdir(exist_ok=True)
    for pattern in COPIED:
        for file in source.glob(pattern):
            if not file.name.endswith(".index.json"):
                shutil.copy(file, destination)
