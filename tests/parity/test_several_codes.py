"""Steps that draw several codes at once give the reference's codes too."""

from functools import partial

import pytest

from model_core import families
from tests.parity.comparisons import Comparison, compare_dalle_bart, compare_pipeline

NAMES = ("dalle-tiny", "dalle-tiny-unscanned", "dalle-tiny-fp16", "pipeline")
OFTEN = {("dalle-tiny", 8), ("dalle-tiny-unscanned", 3), ("pipeline", 3)}


@pytest.mark.parametrize(
    ("name", "window"),
    [
        pytest.param(name, window, marks=[] if (name, window) in OFTEN else pytest.mark.exhaustive)
        for name in NAMES
        for window in (3, 8)
    ],
)
def test_codes_are_the_reference(name: str, window: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(families, "generate", partial(families.generate, window=window))
    compared: list[Comparison] = list(compare_pipeline() if name == "pipeline" else compare_dalle_bart(name))
    codes = [comparison for comparison in compared if "codes" in comparison.quantity]
    assert codes and [comparison for comparison in codes if not comparison.passes] == []
