"""LlamaGen from captions: t2i_XL_stage*.pt, vq_ds16_t2i.pt and the folder of a Flan-T5."""

import math
from pathlib import Path
from typing import Any

from model_core.conversion.files import Shelf, read_text_json
from model_core.conversion.parts import Model, Part, located
from model_core.errors import CorruptCheckpoint, UnsupportedConfig
from model_core.weights.safetensors_writer import Located
from model_core.weights.torch_files import TorchFile
from model_core.weights.weight_files import index_safetensors, torch_files_in

_HEAD_WIDTH = 64  # of the published models
_MULTIPLE = 256  # of the feed-forward's width
_SIDES = {"512": 32, "256": 16}  # in the file's name → of the grid of codes
_T5_PLACES = ("", "t5-ckpt/flan-t5-xl", "flan-t5-xl")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "spiece.model")


def convert(shelf: Shelf, file: TorchFile) -> Model:
    """Makes a sampler, its text encoder, and a codec where there is one.

    Raises:
      CorruptCheckpoint: an array or the T5 is missing.
      UnsupportedConfig: the heads or the grid cannot be told, and no config.json says them.
    """
    arrays = file.arrays("model")
    shapes = {name: array.final_shape for name, array in arrays.items()}
    said = _said(shelf)
    try:
        codes, width = shapes["tok_embeddings.weight"]
        hidden = shapes["layers.0.feed_forward.w1.weight"][0]
        positions, caption = shapes["cls_embedding.uncond_embedding"]
    except (KeyError, ValueError) as err:
        raise CorruptCheckpoint(f"{file.path} is no LlamaGen that draws from captions ({err}).") from err
    if "n_head" not in said and width % _HEAD_WIDTH:
        raise UnsupportedConfig(f"{file.path} is {width} wide; put a config.json with its n_head beside it.")
    config = {
        "model_type": "t2i",
        **said,
        "dim": width,
        "n_layer": 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("layers.")),
        "n_head": said.get("n_head", width // _HEAD_WIDTH),
        "multiple_of": _MULTIPLE if -(-int(8 * width / 3) // _MULTIPLE) * _MULTIPLE == hidden else hidden,
        "vocab_size": codes,
        "caption_dim": caption,
        "cls_token_num": positions,
        "block_size": said.get("block_size") or _side(file.path) ** 2,
    }
    text = _t5(shelf)
    parts = {"sampler": Part(config, located(file, arrays)), "text": text}
    if (vq := shelf.at_most_one("LlamaGen's VQ")) is not None:
        parts["codec"] = codec(vq, config["block_size"])
    return Model(parts, description="A LlamaGen, converted.")


def codec(file: TorchFile, num_codes: Any) -> Part:
    """The VQ-16 of a LlamaGen whose pictures have so many codes; its sizes are told by the shapes."""
    arrays = file.arrays("model")
    shapes = {name: array.final_shape for name, array in arrays.items()}
    try:
        width, levels = shapes["encoder.conv_in.weight"][0], []
        while (name := f"encoder.conv_blocks.{len(levels)}.res.0.conv1.weight") in shapes:
            levels.append(shapes[name][0] // width)
        blocks = sum(f"encoder.conv_blocks.0.res.{i}.conv1.weight" in shapes for i in range(100))
        config = {
            "model_type": "llamagen_vq",
            "codebook_size": shapes["quantize.embedding.weight"][0],
            "codebook_embed_dim": shapes["quantize.embedding.weight"][1],
            "codebook_l2_norm": True,
            "encoder_ch_mult": levels,
            "decoder_ch_mult": levels,
            "z_channels": shapes["encoder.conv_out.weight"][0],
            "ch": width,
            "num_res_blocks": blocks,
            "resolution": math.isqrt(num_codes) * 2 ** (len(levels) - 1),
        }
    except (KeyError, IndexError, ZeroDivisionError, TypeError, ValueError) as err:
        raise CorruptCheckpoint(f"{file.path} is no VQ of LlamaGen ({err}).") from err
    return Part(config, located(file, arrays))


def _said(shelf: Shelf) -> dict[str, Any]:
    """What a config.json beside it says, in the words of LlamaGen's `ModelArgs`."""
    for path in shelf.named("config.json", "gpt/config.json"):
        content = read_text_json(path)
        if isinstance(content, dict) and type(content.get("n_head")) is int:
            return content
    return {}


def _side(path: Path) -> int:
    for part, side in _SIDES.items():
        if part in path.stem:
            return side
    raise UnsupportedConfig(
        f"How many codes a picture of {path.name} has is told by 256 or 512 in its name, or by block_size in a "
        "config.json beside it; neither is there."
    )


def _t5(shelf: Shelf) -> Part:
    """The encoder of a T5, of safetensors or PyTorch's files."""
    for folder in (folder / place for folder in shelf.folders for place in _T5_PLACES):
        config = read_text_json(folder / "config.json") if (folder / "config.json").is_file() else None
        if isinstance(config, dict) and config.get("model_type") == "t5":
            arrays: dict[str, Located] = {}
            for path in sorted(folder.glob("model*.safetensors")):
                arrays |= {name: (path, array) for name, array in index_safetensors(path).items()}
            for path in torch_files_in(folder) if not arrays else ():
                arrays |= located(TorchFile(path), TorchFile(path).arrays())
            used = {name: place for name, place in arrays.items() if name.startswith(("encoder.", "shared."))}
            files = {name: folder / name for name in _TOKENIZER if (folder / name).is_file()}
            return Part(config, used, files)
    raise CorruptCheckpoint(
        "A LlamaGen reads captions with a Flan-T5: put the folder flan-t5-xl beside it, or name it."
    )
