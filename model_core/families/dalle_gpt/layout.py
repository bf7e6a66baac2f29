"""Published files → our tree, on the index of the file alone: names, fused and cut kernels, copies that are left out.

Provenance: DALLE-pytorch 1.6.6 (and the layers of older versions, which wrap less), rudalle 1.1.3, minDALL-E.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path

from model_core.weights.weight_files import FLOAT_DTYPES, Index, Shapes, StoredArray

_NORM = r"(weight|bias)"
# A published name, as a regular expression → ours. The first that fits is taken; an empty one leaves the array out.
_DALLE_PYTORCH = (
    (r"vae\..*|transformer\.pos_emb|logits_mask|(text|image)_emb\.linear\..*", ""),
    (r"text_emb\.weight", "text/embedding"),
    (r"text_pos_emb\.weight", "text/position"),
    (r"image_emb\.weight", "image/embedding"),
    (r"image_pos_emb\.weights_0", "image/row"),
    (r"image_pos_emb\.weights_1", "image/column"),
    (rf"to_logits\.0\.{_NORM}", r"head_norm/\1"),
    (rf"to_logits\.1\.{_NORM}", r"both_heads/\1"),
    (r"transformer\.layers\.(?:layers\.(\d+)\.0|blocks\.(\d+)\.f\.net)\.(.*)", r"layers/\1\2/attention/\3"),
    (r"transformer\.layers\.(?:layers\.(\d+)\.1|blocks\.(\d+)\.g\.net)\.(.*)", r"layers/\1\2/feed_forward/\3"),
)
_INSIDE_DALLE_PYTORCH = (
    (rf"(.*)/fn\.(norm|norm_out)\.{_NORM}", r"\1/\2/\3"),
    (r"(.*)/(?:fn\.)+to_qkv\.weight", r"\1/query_key_value/weight"),
    (rf"(.*)/(?:fn\.)+to_out\.0\.{_NORM}", r"\1/out/\2"),
    (rf"(.*)/(?:fn\.)+net\.0\.{_NORM}", r"\1/in/\2"),
    (rf"(.*)/(?:fn\.)+net\.3\.{_NORM}", r"\1/out/\2"),
)
_RUDALLE = (
    (r"transformer\.(row|col|conv)_mask", ""),
    (r"(text|image)_embeddings\.weight", r"\1/embedding"),
    (r"text_pos_embeddings\.weight", "text/position"),
    (r"image_row_embeddings\.weight", "image/row"),
    (r"image_col_embeddings\.weight", "image/column"),
    (rf"to_logits\.0\.{_NORM}", r"head_norm/\1"),
    (rf"to_logits\.1\.{_NORM}", r"both_heads/\1"),
    (rf"transformer\.final_layernorm\.{_NORM}", r"final_norm/\1"),
    (rf"transformer\.layers\.(\d+)\.input_layernorm\.{_NORM}", r"layers/\1/attention/norm/\2"),
    (rf"transformer\.layers\.(\d+)\.before_first_addition_layernorm\.{_NORM}", r"layers/\1/attention/norm_out/\2"),
    (rf"transformer\.layers\.(\d+)\.attention\.query_key_value\.{_NORM}", r"layers/\1/attention/query_key_value/\2"),
    (rf"transformer\.layers\.(\d+)\.attention\.dense\.{_NORM}", r"layers/\1/attention/out/\2"),
    (rf"transformer\.layers\.(\d+)\.post_attention_layernorm\.{_NORM}", r"layers/\1/feed_forward/norm/\2"),
    (rf"transformer\.layers\.(\d+)\.before_second_addition_layernorm\.{_NORM}", r"layers/\1/feed_forward/norm_out/\2"),
    (rf"transformer\.layers\.(\d+)\.mlp\.dense_h_to_4h\.{_NORM}", r"layers/\1/feed_forward/in/\2"),
    (rf"transformer\.layers\.(\d+)\.mlp\.dense_4h_to_h\.{_NORM}", r"layers/\1/feed_forward/out/\2"),
)
_MINDALLE = (
    (r"tok_emb_txt\.weight", "text/embedding"),
    (r"tok_emb_img\.weight", "image/embedding"),
    (r"pos_emb_txt\.weight", "text/position"),
    (r"pos_emb_img\.weight", "image/position"),
    (rf"ln_f\.{_NORM}", r"head_norm/\1"),
    (r"head_img\.weight", "head/weight"),
    (r"head_txt\.weight", "text_head/weight"),
    (rf"blocks\.(\d+)\.ln1\.{_NORM}", r"layers/\1/attention/norm/\2"),
    (rf"blocks\.(\d+)\.ln2\.{_NORM}", r"layers/\1/feed_forward/norm/\2"),
    (rf"blocks\.(\d+)\.attn\.(query|key|value)\.{_NORM}", r"layers/\1/attention/\2/\3"),
    (rf"blocks\.(\d+)\.attn\.proj\.{_NORM}", r"layers/\1/attention/out/\2"),
    (rf"blocks\.(\d+)\.mlp\.0\.{_NORM}", r"layers/\1/feed_forward/in/\2"),
    (rf"blocks\.(\d+)\.mlp\.2\.{_NORM}", r"layers/\1/feed_forward/out/\2"),
)
# An array that only this layout has → its names. All files have their head.
_LAYOUTS = {
    "transformer.final_layernorm.weight": (_RUDALLE,),
    "to_logits.1.weight": (_DALLE_PYTORCH, _INSIDE_DALLE_PYTORCH),
    "head_img.weight": (_MINDALLE,),
}


def layout(path: Path, index: Index, shapes: Shapes) -> Index:
    """Gives the names and shapes of our tree to what it knows; the rest is left as it is, for the check to name."""
    rules = next((rules for name, rules in _LAYOUTS.items() if name in index), ())
    renamed = dict(index)
    for table in rules:
        renamed = dict(_renamed(renamed, table))
    renamed = {name: stored for name, stored in renamed.items() if not _is_copy(name, shapes)}
    for group in {name.rpartition("/")[0] for name in shapes if "/query_key_value/" in name}:
        _fuse(renamed, group)
    for leaf in ("weight", "bias"):
        _cut_heads(renamed, leaf, shapes)
    return {name: _without_ones(stored, shapes.get(name)) for name, stored in renamed.items()}


def _renamed(index: Index, table: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, StoredArray]]:
    for name, stored in index.items():
        fits = ((match, ours) for pattern, ours in table if (match := re.fullmatch(pattern, name)))
        match, ours = next(fits, (None, name))
        new = match.expand(ours) if match else name
        if new:
            yield new, stored


def _is_copy(name: str, shapes: Shapes) -> bool:
    """Whether it is a shared layer's weights, written once for each layer that uses them."""
    found = re.fullmatch(r"(layers/\d+/(?:attention|feed_forward))/(?:query_key_value|in|out)/(?:weight|bias)", name)
    return bool(found) and name not in shapes and f"{found[1]}/norm/weight" in shapes


def _fuse(index: dict[str, StoredArray], group: str) -> None:
    """Queries, keys and values that were written apart become one array: their bytes in order."""
    layer = group.rpartition("/")[0]
    for leaf in ("weight", "bias"):
        names = [f"{layer}/{part}/{leaf}" for part in ("query", "key", "value")]
        if all(name in index for name in names):
            parts = [index.pop(name) for name in names]
            if len({part.shape for part in parts}) == 1:
                shape = (3 * parts[0].shape[0], *parts[0].shape[1:])
                index[f"{group}/{leaf}"] = StoredArray(shape, tuple(part for each in parts for part in each.parts))
            else:
                index.update(zip(names, parts, strict=True))


def _cut_heads(index: dict[str, StoredArray], leaf: str, shapes: Shapes) -> None:
    """Cuts the head over text tokens and codes in two: text comes first."""
    both, names = index.get(f"both_heads/{leaf}"), (f"text_head/{leaf}", f"head/{leaf}")
    if both is None or not all(name in shapes for name in names):
        return
    start, (first, second) = 0, (shapes[name] for name in names)
    if both.shape == (first[0] + second[0], *first[1:]) and both.foreign_dtype is None:
        del index[f"both_heads/{leaf}"]
        for name, shape in zip(names, (first, second), strict=True):
            (part,) = both.parts
            offset = part.offset + start * FLOAT_DTYPES[part.dtype].itemsize
            index[name] = StoredArray(shape, (replace(part, offset=offset, count=prod(shape)),))
            start += prod(shape)


def _without_ones(stored: StoredArray, shape: tuple[int, ...] | None) -> StoredArray:
    """Drops axes of length 1 that PyTorch keeps for broadcasting."""
    bare = tuple(size for size in stored.shape if size != 1)
    is_same = shape is not None and stored.shape != shape and bare == tuple(size for size in shape if size != 1)
    return replace(stored, shape=shape) if is_same else stored
