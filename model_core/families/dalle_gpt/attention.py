"""What a code looks at, and attention to it: all codes before it, or a few of them around it.

Where a layer looks at few, a step gathers those from the cache; a pass over many codes masks out the others. Both come
from one table.

After the sparse attention of DALL·E (arXiv:2102.12092), as DALLE-pytorch 1.6.6 and rudalle 1.1.3 have it.
"""

import math
from functools import lru_cache, reduce
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32

from model_core.families.dalle_gpt.sizes import Attention, DalleGptConfig
from model_core.families.keys_values import Cache, KeysValues

LOWEST = float(jnp.finfo(jnp.float32).min)
NOTHING = -1


@lru_cache(maxsize=32)
def looked_at(kind: Attention, side: int) -> Int32[np.ndarray, "N M"]:
    """The cells that each cell of a side × side grid looks at, itself among them; `NOTHING` fills up.

    * `axial_row`, `axial_col`: before it in its row, above it in its column.
    * `conv_like`: up to 4 rows above and 4 columns to the left.
    * `row`: itself and the last side cells before, whatever their row.
    * `conv`: up to 5 rows above and 5 columns to either side; `conv_wrapped` goes on at the other edge, as rudalle's v2
      does.
    """
    cells = np.arange(side**2)
    row, column = divmod(cells[:, None], side)
    up, left = np.array(list(_offsets(kind, side)), np.int64).reshape(-1, 2).T
    if kind == "row":
        found = cells[:, None] - up * side - left
        inside = found >= 0
    else:
        columns = (column - left) % side if kind == "conv_wrapped" else column - left
        found = (row - up) * side + columns
        inside = (row >= up) & (columns >= 0) & (columns < side) & (found <= cells[:, None])
    return np.where(inside, found, NOTHING).astype(np.int32)


def _offsets(kind: Attention, side: int):
    near = range(-5, 6)
    match kind:
        case "axial_row":
            return product([0], range(side))
        case "axial_col":
            return product(range(side), [0])
        case "conv_like":
            return product(range(min(side, 5)), range(min(side, 5)))
        case "row":
            return [(0, back) for back in range(side + 1)]
        case "conv":
            return product(range(min(side, 6)), [left for left in near if abs(left) < side])
        case "conv_wrapped":
            around = sorted({offset % side for offset in near})
            return product(around, around)
    raise ValueError(kind)


class Sight(NamedTuple):
    """What every code looks at in layers of one kind.

    Attributes:
      codes: places among the codes, `NOTHING` fills up; None: all up to itself.
      text: which of the text's positions; None: all.
    """

    codes: Int32[np.ndarray, "N M"] | None
    text: Bool[np.ndarray, "N P"] | None

    def mask(self) -> Bool[np.ndarray, "N N"]:
        """The same as a square: row i for what code i looks at."""
        assert self.codes is not None
        mask = np.zeros((len(self.codes), len(self.codes) + 1), bool)
        np.put_along_axis(mask, np.where(self.codes < 0, len(self.codes), self.codes), True, axis=1)
        return mask[:, :-1]


def sight(config: DalleGptConfig, kind: Attention) -> Sight:
    """What codes look at. Late cells are the last tokens of the text, seen only where the table says so."""
    late = config.late_cells
    if kind == "full":
        return Sight(None, None)
    cells = looked_at(kind, config.side)
    if not late:
        return Sight(cells, None)
    cells = np.concatenate([cells[late:], cells[-late:]])  # code i is cell i + late; the last codes are in no cell
    text = np.ones((len(cells), config.stream_text), bool)
    for cell in range(late):
        text[:, cell - late] = (cells == cell).any(1)
    return Sight(np.where(cells < late, NOTHING, cells - late), text)


class View(NamedTuple):
    """What L codes of each row look at in layers of one kind: a few codes, or all that a mask leaves.

    Attributes:
      few: their places, `NOTHING` fills up; None: see `mask`.
      mask: None where `few` is there, or all codes up to itself are seen.
      text: None: all of it.
    """

    few: Int[Array, "R L M"] | None = None
    mask: Bool[Array, "R L N"] | None = None
    text: Bool[Array, "R L P"] | None = None


def view(config: DalleGptConfig, kind: Attention, places: Int[Array, "R L"]) -> View:
    """What codes at `places` look at; made once for all layers of a kind."""
    seen = sight(config, kind)
    if seen.codes is None:
        return View()
    text = None if seen.text is None else jnp.asarray(seen.text)[places]
    if places.shape[1] * seen.codes.shape[1] <= seen.codes.shape[0]:
        return View(few=jnp.asarray(seen.codes)[places], text=text)
    return View(mask=jnp.asarray(seen.mask())[places], text=text)


def attend(
    query: Float[Array, "R H L K"],
    text: KeysValues,
    cache: Cache,
    seen: View,
    places: Int[Array, "R L"],
    reach: int,
) -> Float[Array, "R L HK"]:
    """Lets codes at `places` look at the text and at those codes of `cache` that they see.

    Args:
      text: keys and values [R, H, P, K].
      cache: of codes, in parts of which those from `reach` on are not read.
    """
    groups = [_over(query, text, seen.text)]
    if seen.few is not None:
        groups.append(_over_few(query, cache[0], seen.few))
    elif seen.mask is not None:
        groups.append(_over(query, cache[0], seen.mask))
    else:
        starts = np.cumsum([0, *(part.keys.shape[2] for part in cache)])
        for part, start in zip(cache, starts, strict=False):
            if start < reach:
                groups.append(_over(query, part, jnp.arange(part.keys.shape[2]) + start <= places[..., None]))
    return mix(groups)


def attend_causally(query: Float[Array, "R H L K"], own: KeysValues) -> Float[Array, "R L HK"]:
    """Lets each of L positions look at itself and those before."""
    length = query.shape[2]
    return mix([_over(query, own, jnp.tri(length, dtype=bool)[None])])


class _Group(NamedTuple):
    """Scores [R, H, L, S] of positions that are looked at, and how their values are summed by weights of that shape."""

    scores: Array
    values: Array
    equation: str


def _over(query, source: KeysValues, mask) -> _Group:
    """All of `source`, where `mask` [R or 1, L, S] is true; None: everywhere."""
    scores = jnp.einsum("rhlk,rhsk->rhls", query, source.keys, preferred_element_type=jnp.float32)
    return _Group(scores if mask is None else _masked(scores, mask), source.values, "rhls,rhsk->rlhk")


def _over_few(query, source: KeysValues, which) -> _Group:
    """The entries `which` [R, L, M] of `source`."""
    keys, values = jax.tree.map(
        lambda kept: jax.vmap(lambda row, at: row[:, at])(kept, jnp.clip(which, 0)), (source.keys, source.values)
    )
    scores = jnp.einsum("rhlk,rhlmk->rhlm", query, keys, preferred_element_type=jnp.float32)
    return _Group(_masked(scores, which >= 0), values, "rhlm,rhlmk->rlhk")


def _masked(scores, mask):
    return jnp.where(mask[:, None], scores, LOWEST)


def mix(groups: list[_Group]) -> Float[Array, "R L HK"]:
    """One softmax over all groups; the sum of their values."""
    size = groups[0].values.shape[-1]
    scores = jnp.concatenate([group.scores for group in groups], axis=-1) / math.sqrt(size)
    weights = jax.nn.softmax(scores).astype(groups[0].values.dtype)
    ends = np.cumsum([group.scores.shape[-1] for group in groups])[:-1]
    split = jnp.split(weights, ends, axis=-1)
    mixed = [jnp.einsum(g.equation, w, g.values) for g, w in zip(groups, split, strict=True)]
    mixed = reduce(jnp.add, mixed)
    return jnp.reshape(mixed, (*mixed.shape[:2], mixed.shape[2] * size))
