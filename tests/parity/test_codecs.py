"""Codecs and DALLE-pytorch's CLIP against DALLE-pytorch, OpenAI's dall-e, rudalle, taming, DeepSeek and LlamaGen."""

import pytest

from tests.parity.codec_comparisons import ALL


@pytest.mark.parametrize("name", ALL)
def test_what_is_converted_computes_as_the_reference(name):
    assert [comparison for comparison in ALL[name]() if not comparison.passes] == []
