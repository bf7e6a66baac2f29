"""Which ids stay; `test_sampling.py` holds the filters to their definition."""

import jax.numpy as jnp
import numpy as np
import pytest

from model_core.sampler.top_k_top_p import keep_likeliest


def kept(logits, top_k=0, top_p=1.0) -> list[int]:
    row = keep_likeliest(
        jnp.asarray([logits], jnp.float32), jnp.asarray([top_k], jnp.int32), jnp.asarray([top_p], jnp.float32)
    )[0]
    np.testing.assert_array_equal(row, np.where(np.isfinite(row), np.float32(logits), -np.inf))
    return np.flatnonzero(np.isfinite(row)).tolist()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("top_k", [1, 50, 999])
def test_the_largest_stay_whatever_their_sign_and_size(sign, top_k):
    logits = sign * np.logspace(-38, 38, 1000) * np.where(np.arange(1000) % 3, 1, -1)
    shuffled = np.random.default_rng(0).permutation(logits).astype(np.float32)
    assert kept(shuffled, top_k) == sorted(np.argsort(-shuffled)[:top_k].tolist())


def test_both_zeros_are_equal():
    assert kept([-0.0, 0.0, -1.0, 0.0], top_k=2) == [0, 1]


def test_of_equals_the_lower_ids_stay():
    assert kept([1.0, 2.0, 2.0, 2.0, 0.0], top_k=2) == [1, 2]
    assert kept([0.0] * 8, top_p=0.3) == [0, 1, 2]  # an eighth each


def test_the_share_counts_among_the_k_likeliest():
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    assert kept(logits, top_p=0.65) == [0, 1]
    assert kept(logits, top_k=2, top_p=0.55) == [0]  # 4/7 of what top_k leaves


def test_one_always_stays():
    assert kept([3.0, 5.0, 4.0], top_p=1e-9) == [1]
    assert kept([-np.inf, -np.inf, 7.0, -np.inf], top_k=3, top_p=0.99) == [2]


def test_rows_do_not_depend_on_each_other():
    logits = jnp.asarray(np.random.default_rng(3).normal(size=(3, 64)), jnp.float32)
    top_k, top_p = jnp.asarray([0, 7, 20]), jnp.asarray([1.0, 1.0, 0.5])
    together = keep_likeliest(logits, top_k, top_p)
    alone = [keep_likeliest(logits[i : i + 1], top_k[i : i + 1], top_p[i : i + 1])[0] for i in range(3)]
    np.testing.assert_array_equal(together, alone)
