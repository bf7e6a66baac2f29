"""VQGAN against vqgan-jax (10ef240), both directions."""

from tests.parity.comparisons import compare_vqgan


def test_vqgan_is_the_reference():
    assert [comparison for comparison in compare_vqgan() if not comparison.passes] == []
