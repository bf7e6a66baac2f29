"""PyTorch's VQGANs → our tree, on the index of their file: names, and axes to be swapped, before any array is read.

The names: taming-transformers (VQModel, GumbelVQ), Sber's wavelet decoder, LlamaGen and DeepSeek (`conv_blocks`), Janus
in transformers. Flax's files have our names already.
"""

import re
from pathlib import Path

from model_core.weights.torch_names import to_flax
from model_core.weights.weight_files import Index, Shapes

_IN_JANUS = ("model.vqmodel.", "gen_vision_model.")  # where the codec lies in the file of the whole model
# What no picture needs: losses of training, a count of used codes, the constants of a filter.
_UNUSED = re.compile(r"loss\.|quantize\.codebook_used$|decoder\.idwt\.")
_LEVEL = re.compile(r"(encoder|decoder)\.(?:conv_blocks|down|up)\.(\d+)\.")
_BLOCK = re.compile(r"\.(block|res|attn)\.(\d+)\.")
_MIDDLE = {".mid.0.": ".mid.block_1.", ".mid.1.": ".mid.attn_1.", ".mid.2.": ".mid.block_2."}


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Renames what a safetensors file holds, or several; Flax's own file has our names."""
    return index if path.suffix == ".msgpack" else from_torch(index)


def from_torch(index: Index) -> Index:
    """Renames a PyTorch VQGAN into our tree; what it does not know passes through, for the comparison to report."""
    inside = next((prefix for prefix in _IN_JANUS if any(name.startswith(prefix) for name in index)), "")
    arrays = {name.removeprefix(inside): array for name, array in index.items() if name.startswith(inside)}
    arrays = {name.removeprefix("model."): array for name, array in arrays.items()}
    if any(name.startswith("decoder.decoder.") for name in arrays):  # Sber's decoder brings its own of these
        arrays = {name: array for name, array in arrays.items() if not name.startswith("post_quant_conv.")}
        arrays = {
            re.sub(r"^decoder\.(decoder|post_quant_conv)\.", r"\1.", name): array for name, array in arrays.items()
        }
    # Levels are numbered from the largest picture down; the decoder of a VQ-16 numbers its own from the smallest up.
    turned = inside == _IN_JANUS[0] or any(name.startswith("decoder.conv_blocks.") for name in arrays)
    levels = [int(match[2]) for name in arrays if (match := _LEVEL.match(name)) and match[1] == "decoder"]
    last = max(levels, default=0) if turned else None
    return dict(
        to_flax(_our_name(name, last), array, lambda owner: owner == "quantize/embedding")
        for name, array in arrays.items()
        if not _UNUSED.match(name)
    )


def _our_name(name: str, last: int | None) -> str:
    """`last` is the highest level of a decoder that numbers them the other way round."""

    def level(match: re.Match[str]) -> str:
        number = int(match[2])
        if match[1] == "encoder":
            return f"encoder.down_{number}."
        return f"decoder.up_{number if last is None else last - number}."

    def block(match: re.Match[str]) -> str:
        return f".{'attn' if match[1] == 'attn' else 'block'}_{match[2]}."

    name = _BLOCK.sub(block, _LEVEL.sub(level, name))
    for theirs, ours in _MIDDLE.items():
        name = name.replace(theirs, ours)
    return name.replace("quantize.embed.", "quantize.embedding.")
