"""Published PyTorch files → a model's folder: parts by role, each of safetensors, config.json and its tokenizer.

The files are read as data, by `weights.torch_files`; nothing of them is run, and PyTorch is not needed.
"""

import json
from collections.abc import Callable
from pathlib import Path

from model_core import bundles, codecs, families
from model_core.conversion import codec_parts, dalle_pytorch, llamagen, others
from model_core.conversion.files import Shelf
from model_core.conversion.parts import Model, Part
from model_core.errors import CorruptCheckpoint
from model_core.files import write_atomically
from model_core.weights import checkpoint
from model_core.weights.torch_files import TorchFile
from model_core.weights.weight_files import TORCH_SUFFIXES, torch_files_in

_CONVERTERS: dict[str, Callable[[Shelf, TorchFile], Model]] = {
    "DALLE-pytorch": dalle_pytorch.convert,
    "ruDALL-E": others.rudalle,
    "minDALL-E": others.mindalle,
    "LlamaGen": llamagen.convert,
}


def is_published(source: Path) -> bool:
    """Whether this is a PyTorch file, or a folder of such files that is not a model's folder already."""
    if source.is_file():
        return source.suffix in TORCH_SUFFIXES
    return source.is_dir() and not (source / "model.json").exists() and bool(torch_files_in(source))


def convert(source: Path, destination: Path, name: str, dtype: str | None, also: list[Path]) -> dict[str, int]:
    """Converts a published file, or a folder of them, into the folder `destination`, which is there but empty.

    Args:
      name: the model's id in its model.json, which is written where there are a sampler and a codec.
      dtype: as in `safetensors_writer.write_safetensors`.
      also: other files and folders to look in, for a codec or tokenizer.

    Returns: the bytes of the weights of each part, by role.

    Raises:
      ModelNotFound, CorruptCheckpoint, UnsupportedConfig, CheckpointMismatch, InvalidValue: it cannot be converted;
        says what is missing or not supported.
    """
    model = _model_of(Shelf(source, also))
    written = {}
    for role, part in model.parts.items():
        written[role] = part.write(destination / role, dtype)
        checkpoint.check(bundles.ROLES[role].of_folder(destination / role), destination / role)
    if {"sampler", "codec"} <= model.parts.keys():
        height, _ = codecs.read_config(destination / "codec").size
        card = {
            "id": name,
            "licence": model.licence,
            "size": height,
            "sampling": dict(families.read_config(destination / "sampler").default_sampling),
            "description": model.description,
            "parts": {role: role for role in model.parts},
        }
        write_atomically(destination / "model.json", json.dumps(card, indent=2).encode())
    return written


def _model_of(shelf: Shelf) -> Model:
    if shelf.main is not None and shelf.main.kind in _CONVERTERS:
        return _CONVERTERS[shelf.main.kind](shelf, shelf.main.file)
    return Model(_parts_alone(shelf))


def _parts_alone(shelf: Shelf) -> dict[str, Part]:
    """A codec or a scorer without a sampler: the one that was asked for, or what the folder has."""
    kinds = {shelf.main.kind} if shelf.main else {found.kind for found in shelf.files}
    parts = {}
    if "VQGAN" in kinds and (file := shelf.at_most_one("VQGAN")):
        parts["codec"] = codec_parts.taming(shelf, file)
    elif "DiscreteVAE" in kinds and (file := shelf.at_most_one("DiscreteVAE")):
        parts["codec"] = codec_parts.discrete_vae(file, file.mapping("hparams"), ("weights",), "")
    elif kinds & {"dVAE encoder", "dVAE decoder"}:
        encoder, decoder = shelf.at_most_one("dVAE encoder"), shelf.at_most_one("dVAE decoder")
        if encoder is None or decoder is None:
            raise CorruptCheckpoint(
                "OpenAI's dVAE is two files, encoder.pkl and decoder.pkl; only one of them is here."
            )
        parts["codec"] = codec_parts.openai_dvae(encoder, decoder)
    if "CLIP" in kinds and (file := shelf.at_most_one("CLIP")):
        parts["scorer"] = dalle_pytorch.scorer(file, *dalle_pytorch.find_tokenizer(shelf))
    return parts
