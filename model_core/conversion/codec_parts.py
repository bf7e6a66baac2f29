"""Published codecs → parts."""

from pathlib import Path
from typing import Any

from model_core.codecs.vqgan_published import from_taming
from model_core.conversion.files import Shelf
from model_core.conversion.parts import Part, located, plain
from model_core.errors import CorruptCheckpoint
from model_core.weights.torch_files import TorchFile
from model_core.weights.weight_files import Index

_SIDE = 256  # in pixels; no array tells it, and it is what the published dVAE and VQGANs were trained on
_DDCONFIG = ("model", "params", "ddconfig")  # where a VQGAN's YAML has its sizes


def discrete_vae(file: TorchFile, hparams: Any, keys: tuple[str, ...], prefix: str) -> Part:
    """DALLE-pytorch's own; `keys` and `prefix` say where its arrays are."""
    config = {"model_type": "discrete_vae", **plain(hparams, f"{file.path}, its DiscreteVAE's hparams")}
    return Part(config, located(file, file.arrays(*keys), prefix))


def openai_dvae(encoder: TorchFile, decoder: TorchFile) -> Part:
    """encoder.pkl and decoder.pkl, or dicts of their arrays."""
    sides = {"encoder": _of_side(encoder), "decoder": _of_side(decoder)}
    files = {"encoder": encoder, "decoder": decoder}
    return dvae_of_arrays(
        {
            f"{side}.{name}": (files[side].path, array)
            for side, arrays in sides.items()
            for name, array in arrays.items()
        },
        sides["encoder"],
        sides["decoder"],
    )


def dvae_of_arrays(arrays: dict[str, Any], encoder: Index, decoder: Index) -> Part:
    """A dVAE whose sizes are told by the shapes of its two networks, named from `blocks.` on."""
    try:
        config = {
            "model_type": "openai_dvae",
            "resolution": _SIDE,
            "encoder": {
                "group_count": _count(encoder, "blocks.group_{}."),
                "n_hid": encoder["blocks.input.w"].shape[0],
                "n_blk_per_group": _count(encoder, "blocks.group_1.block_{}."),
                "input_channels": encoder["blocks.input.w"].shape[1],
                "vocab_size": encoder["blocks.output.conv.w"].shape[0],
            },
            "decoder": {
                "group_count": _count(decoder, "blocks.group_{}."),
                "n_init": decoder["blocks.input.w"].shape[0],
                "n_hid": decoder["blocks.output.conv.w"].shape[1],
                "n_blk_per_group": _count(decoder, "blocks.group_1.block_{}."),
                "output_channels": decoder["blocks.output.conv.w"].shape[0] // 2,
                "vocab_size": decoder["blocks.input.w"].shape[1],
            },
        }
    except (KeyError, IndexError) as err:
        raise CorruptCheckpoint(
            f"This is not OpenAI's dVAE: its first or last array {err} is missing or flat."
        ) from err
    return Part(config, arrays)


def _of_side(file: TorchFile) -> Index:
    return file.arrays() if isinstance(file.content, dict) else file.module_arrays()


def _count(names: Index, pattern: str, first: int = 1) -> int:
    number = first
    while any(name.startswith(pattern.format(number)) for name in names):
        number += 1
    return number - first


def taming(shelf: Shelf, file: TorchFile) -> Part:
    """A VQGAN of taming-transformers, Sber's with wavelets too; without a YAML beside it, its shapes tell its sizes."""
    keys = ("state_dict",) if "state_dict" in file.mapping() else ()
    arrays = file.arrays(*keys)
    short = {name.removeprefix("model."): array for name, array in arrays.items() if not name.startswith("loss.")}
    config = config_beside(shelf, file.path) if shelf.yaml_with(*_DDCONFIG) else _told_by_shapes(file.path, short)
    wavelet = any(name.startswith("decoder.decoder.") for name in short)
    lookup = "gumbel" if "quantize.proj.weight" in short else "nearest"
    return Part(from_taming(config, lookup=lookup, wavelet=wavelet), located(file, arrays_kept(arrays)))


def _told_by_shapes(path: Path, arrays: Index) -> dict[str, Any]:
    """What the YAML of a VQGAN for pictures of `_SIDE` would say."""
    try:
        width = arrays["encoder.conv_in.weight"].final_shape[0]
        levels = []
        while (name := f"encoder.down.{len(levels)}.block.0.conv1.weight") in arrays:
            levels.append(arrays[name].final_shape[0] // width)
        if not levels:
            raise KeyError(name)
        blocks = _count(arrays, "encoder.down.0.block.{}.", first=0)
        attending = [i for i in range(len(levels)) if f"encoder.down.{i}.attn.0.norm.weight" in arrays]
        codebook = arrays.get("quantize.embed.weight") or arrays["quantize.embedding.weight"]
        sizes = {
            "z_channels": arrays["encoder.conv_out.weight"].final_shape[0],
            "resolution": _SIDE,
            "ch": width,
            "ch_mult": levels,
            "num_res_blocks": blocks,
            "attn_resolutions": [_SIDE // 2**level for level in attending],
        }
        codes, size = codebook.final_shape
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as err:
        raise CorruptCheckpoint(
            f"{path} needs its configuration beside it, the YAML file with model.params.ddconfig: shapes do not tell "
            f"how large it is ({err})."
        ) from err
    return {"model": {"params": {"embed_dim": size, "n_embed": codes, "ddconfig": sizes}}}


def arrays_kept(arrays: Index) -> Index:
    """Without the losses of training, which are half of such a file."""
    return {name: array for name, array in arrays.items() if not name.startswith(("loss.", "model.loss."))}


def config_beside(shelf: Shelf, path: Path) -> dict[str, Any]:
    """The YAML of a VQGAN: the only one, or the one whose name begins as that of the checkpoint."""
    found = shelf.yaml_with(*_DDCONFIG)
    close = {each: config for each, config in found.items() if each.name.split(".")[:-2] == path.name.split(".")[:-2]}
    chosen = close if len(found) > 1 and len(close) == 1 else found
    if len(chosen) != 1:
        names = ", ".join(str(each) for each in found) or "none"
        raise CorruptCheckpoint(
            f"{path} needs its configuration beside it, the YAML file with model.params.ddconfig; found: {names:.300}."
        )
    return next(iter(chosen.values()))
