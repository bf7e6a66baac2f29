"""CLIP against FlaxCLIPModel and CLIPProcessor (transformers 4.25.1), and CLIPModel (4.57.6)."""

import pytest

from tests.parity.comparisons import compare_clip


@pytest.mark.parametrize("name", ["clip-tiny", "clip-tiny-torch"])
def test_clip_is_the_reference(name):
    assert [comparison for comparison in compare_clip(name) if not comparison.passes] == []
