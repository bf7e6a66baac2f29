"""Steps that draw several codes at once give the reference's codes too."""

from functools import partial

import pytest

from model_core import families
from tests.parity.comparisons import Comparison, compare_dalle_bart, compare_pipeline


@pytest.mark.parametrize("window", [3, 8])
@pytest.mark.parametrize("name", ["dalle-tiny", "dalle-tiny-unscanned", "dalle-tiny-fp16", "pipeline"])
def test_codes_are_the_reference(name: str, window: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(families, "generate", partial(families.generate, window=window))
    compared: list[Comparison] = list(compare_pipeline() if name == "pipeline" else compare_dalle_bart(name))
    codes = [comparison for comparison in compared if "codes" in comparison.quantity]
    assert codes and [comparison for comparison in codes if not comparison.passes] == []
