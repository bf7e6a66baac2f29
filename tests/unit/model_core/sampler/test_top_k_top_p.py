"""Which ids stay; `test_sampling.py` holds the filters to their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model_core.sampler import top_k_top_p
from model_core.sampler.top_k_top_p import SORTED

keep_likeliest, by_sorting, by_bisection = map(
    jax.jit, (top_k_top_p.keep_likeliest, top_k_top_p.by_sorting, top_k_top_p.by_bisection)
)


def kept(logits, top_k=0, top_p=1.0, way=keep_likeliest) -> list[int]:
    row = way(jnp.asarray([logits], jnp.float32), jnp.asarray([top_k], jnp.int32), jnp.asarray([top_p], jnp.float32))[0]
    np.testing.assert_array_equal(row, np.where(np.isfinite(row), np.float32(logits), -np.inf))
    return np.flatnonzero(np.isfinite(row)).tolist()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("top_k", [1, 50, 999])
def test_the_largest_stay_whatever_their_sign_and_size(sign, top_k):
    logits = sign * np.logspace(-38, 38, 1000) * np.where(np.arange(1000) % 3, 1, -1)
    shuffled = np.random.default_rng(0).permutation(logits).astype(np.float32)
    assert kept(shuffled, top_k) == sorted(np.argsort(-shuffled)[:top_k].tolist())


def test_of_equals_the_lower_ids_stay():
    assert kept([1.0, 2.0, 2.0, 2.0, 0.0], top_k=2) == [1, 2]
    assert kept([0.0] * 8, top_p=0.3) == [0, 1, 2]  # an eighth each


def test_the_share_counts_among_the_k_likeliest():
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    assert kept(logits, top_p=0.65) == [0, 1]
    assert kept(logits, top_k=2, top_p=0.55) == [0]  # 4/7 of what top_k leaves


@pytest.mark.parametrize("top_p", [1e-9, 1e-38, 1e-39, 1e-300])
def test_one_always_stays(top_p):
    """Also where the share is no normal number in float32."""
    assert kept([3.0, 5.0, 4.0], top_p=top_p) == [1]
    assert kept([3.0, 5.0, 5.0], top_k=2, top_p=top_p) == [1]


def test_one_stays_of_what_there_is():
    assert kept([-np.inf, -np.inf, 7.0, -np.inf], top_k=3, top_p=0.99) == [2]


def test_rows_do_not_depend_on_each_other():
    logits = jnp.asarray(np.random.default_rng(3).normal(size=(3, 64)), jnp.float32)
    top_k, top_p = jnp.asarray([0, 7, 20]), jnp.asarray([1.0, 1.0, 0.5])
    together = keep_likeliest(logits, top_k, top_p)
    alone = [keep_likeliest(logits[i : i + 1], top_k[i : i + 1], top_p[i : i + 1])[0] for i in range(3)]
    np.testing.assert_array_equal(together, alone)


WAYS = pytest.mark.parametrize(
    "way", [keep_likeliest, by_sorting, by_bisection], ids=["either", "sorting", "bisection"]
)
SHARES = [(1e-9, 1), (0.125, 1), (0.126, 2), (0.5, 4), (0.51, 5), (0.99, 8), (1.0, 8)]


@WAYS
@pytest.mark.parametrize(("top_p", "count"), SHARES)
def test_a_share_that_is_just_reached_needs_no_more(way, top_p, count):
    """Each of eight equals has an eighth, to the last bit."""
    assert kept([0.0] * 8 + [-9.0, -np.inf], top_k=8, top_p=top_p, way=way) == list(range(count))


@WAYS
def test_both_zeros_are_equal(way):
    assert kept([-0.0, 0.0, -1.0, 0.0], top_k=2, way=way) == [0, 1]
    assert kept([0.0, -0.0, -1.0, 0.0], top_k=2, way=way) == [0, 1]


@WAYS
@pytest.mark.parametrize("top_k", [1, 3, 6, SORTED])
def test_what_is_no_code_is_never_kept(way, top_k):
    logits = [-np.inf, 2.0, -np.inf, 1.0, 1.0, -np.inf]
    assert kept(logits, top_k=top_k, way=way) == sorted([1, 3, 4][:top_k])
    assert kept(logits, top_k=top_k, top_p=0.999, way=way) == sorted([1, 3, 4][:top_k])


rows_of_logits = st.builds(
    lambda seed, size, step, spread: np.round(np.random.default_rng(seed).normal(size=size) * spread / step) * step,
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([5, 150]),  # fewer than are sorted, and more
    step=st.sampled_from([1.0, 0.1, 1e-6]),  # many equals, some, none
    spread=st.sampled_from([0.1, 2.0, 30.0]),
)
shares = st.one_of(st.just(1.0), st.floats(2**-20, 1.0, width=32), st.just(2.0**-126))
counts = st.one_of(st.integers(1, 8), st.integers(1, SORTED))


@settings(max_examples=150, deadline=None)
@given(rows_of_logits, st.sampled_from([0.0, 0.5, 0.9]), counts, shares)
def test_sorting_keeps_what_bisection_keeps(logits, share_of_none, top_k, top_p):
    logits = np.where(np.arange(len(logits)) * 0.37 % 1 < share_of_none, -np.inf, logits).astype(np.float32)
    likeliest = np.sort(logits[np.isfinite(logits)])[::-1][:top_k].astype(np.float64)
    assume(len(likeliest))
    share = np.exp(likeliest - likeliest[0])
    reached = np.cumsum(share / share.sum())
    assume(top_p == 1 or np.abs(reached - top_p).min() > 1e-5)  # sums in another order are off by a few bits
    assert kept(logits, top_k, top_p, by_sorting) == kept(logits, top_k, top_p, by_bisection)
