"""What codes look at, against the words of the two papers' code, cell by cell."""

import numpy as np
import pytest

from model_core.families.dalle_gpt.attention import looked_at, sight
from model_core.families.dalle_gpt.config import from_dict
from tests.unit.model_core.families.dalle_gpt.configs import DALLE_PYTORCH, RUDALLE, changed


def wraps(distance: int, side: int) -> bool:
    """Whether a key may be so far away if edges are joined: up to 5 in either direction."""
    return min(distance % side, -distance % side) <= 5


RULES = {
    "axial_row": lambda up, left, flat, side: up == 0,
    "axial_col": lambda up, left, flat, side: left == 0,
    "conv_like": lambda up, left, flat, side: 0 <= up <= 4 and 0 <= left <= 4,
    "row": lambda up, left, flat, side: flat <= side,
    "conv": lambda up, left, flat, side: abs(up) <= 5 and abs(left) <= 5,
    "conv_wrapped": lambda up, left, flat, side: wraps(up, side) and wraps(left, side),
}


def square(kind: str, side: int) -> np.ndarray:
    """Row i: what cell i looks at."""
    cells = [divmod(cell, side) for cell in range(side**2)]
    mask = np.zeros((side**2, side**2), bool)
    for query, (row, column) in enumerate(cells):
        for key, (key_row, key_column) in enumerate(cells[: query + 1]):
            mask[query, key] = RULES[kind](row - key_row, column - key_column, query - key, side)
    return mask


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("side", [1, 3, 8, 16])
def test_every_kind(kind, side):
    table = looked_at(kind, side)
    mask = square(kind, side)
    for query, keys in enumerate(table):
        found = keys[keys >= 0]
        assert sorted(found) == np.flatnonzero(mask[query]).tolist()  # each once


def test_full_layers_have_no_table():
    assert sight(from_dict(DALLE_PYTORCH), "full") == (None, None)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_masks_of_rudalles_v2_begin_one_token_early(layer):
    """They count as many text tokens as there are; the stream has one more in front."""
    config = from_dict(changed(RUDALLE, hf_version="v2", image_tokens_per_dim=6))
    kind, text, codes = config.attention[layer], config.text_length, config.grid.num_codes
    assert config.stream_text == text + 1
    stream = np.ones((text + codes, text + codes), bool)  # of what is fed: all but the last code
    stream[text:, text:] = square(kind, config.side)
    seen = sight(config, kind)
    fed = codes - 1
    np.testing.assert_array_equal(seen.mask()[:fed, :fed], stream[text + 1 :, text + 1 :])
    np.testing.assert_array_equal(seen.text[:fed], stream[text + 1 :, : text + 1])
