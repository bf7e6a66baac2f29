"""The sheet of what a model knows, on a pipeline that draws one colour a thing."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model_core.bundles import KNOWN_COLUMNS
from model_core.errors import InvalidValue
from model_core.pipeline import Pipeline, RankedImage
from model_core.shipped.known_pictures import SIDE, known_pictures


class Plain(Pipeline):
    def __init__(self, num_things: int):
        self.bundle: Any = SimpleNamespace(id="plain", known_things=tuple(map(str, range(num_things))))

    def generate(self, prompt: str, best_of: Any = None, seed: Any = None, **_: Any) -> list[RankedImage]:
        assert (best_of, seed) == (4, 0)
        return [RankedImage(np.full((8, 8, 3), int(prompt), np.uint8), np.zeros(1, np.int32), 0, 0.0)]


@pytest.mark.parametrize("num_things", [1, KNOWN_COLUMNS, KNOWN_COLUMNS + 1, 3 * KNOWN_COLUMNS - 1])
def test_each_thing_has_its_place(num_things: int):
    sheet = np.asarray(known_pictures(Plain(num_things), best_of=4))
    rows = -(-num_things // KNOWN_COLUMNS)
    assert sheet.shape == (SIDE * rows, SIDE * KNOWN_COLUMNS, 3)
    cells = sheet.reshape(rows, SIDE, KNOWN_COLUMNS, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
    for place, cell in enumerate(cells):
        assert (cell == (place if place < num_things else 255)).all()


def test_a_model_that_names_nothing_is_refused():
    with pytest.raises(InvalidValue, match="plain names no things"):
        known_pictures(Plain(0))
