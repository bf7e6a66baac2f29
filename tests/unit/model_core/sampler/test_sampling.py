"""Sampling: what is kept, in which order, and which noise decides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.sampler import sampling


def warp(logits, *, temperature=1.0, top_k=0, top_p=1.0):
    how = sampling.sampling_params(
        len(logits), num_codes=10**6, temperature=temperature, top_k=top_k, top_p=top_p, seeds=[0] * len(logits)
    )
    return np.asarray(sampling.warp(jnp.asarray(logits, jnp.float32), how.temperature, how.top_k, how.top_p))


def warp_row(logits, temperature, top_k, top_p):
    """The definition, one id at a time, in float64: ids in order of falling logits, lower ids first."""
    scaled = np.asarray(logits, np.float64) / temperature
    order = sorted(range(len(scaled)), key=lambda i: (-scaled[i], i))
    if top_k:
        order = order[:top_k]
    kept, reached = [], 0.0
    total = sum(np.exp(scaled[i] - scaled.max()) for i in order)
    for i in order:
        if kept and top_p < 1 and reached >= top_p:
            break
        kept.append(i)
        reached += np.exp(scaled[i] - scaled.max()) / total
    return np.array([scaled[i] if i in kept else -np.inf for i in range(len(scaled))])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [0, 1, 3, 7, 30, 1000])
@pytest.mark.parametrize("top_p", [1e-9, 0.33, 0.81, 1.0])
@pytest.mark.parametrize("step", [1e-6, 1.0], ids=["all-different", "many-equal"])
def test_warp_is_its_definition(temperature, top_k, top_p, step):
    logits = np.round(np.random.default_rng(0).normal(size=(4, 30)) / step).astype(np.float32) * np.float32(step)
    expected = [warp_row(row, temperature, top_k, top_p) for row in logits]
    np.testing.assert_allclose(warp(logits, temperature=temperature, top_k=top_k, top_p=top_p), expected, rtol=1e-6)


def test_filters_that_are_off_keep_every_bit():
    logits = np.random.default_rng(1).normal(size=(3, 50)).astype(np.float32) * 30
    np.testing.assert_array_equal(warp(logits), logits)


def test_an_image_is_filtered_by_its_own_parameters():
    logits = np.random.default_rng(2).normal(size=(4, 40)).astype(np.float32)
    settings = {"temperature": [0.5, 1.0, 1.0, 2.0], "top_k": [0, 5, 0, 3], "top_p": [1.0, 1.0, 0.4, 0.9]}
    together = warp(logits, **settings)
    for i in range(4):
        alone = warp(logits[i : i + 1], **{name: values[i] for name, values in settings.items()})
        np.testing.assert_array_equal(together[i : i + 1], alone)


def test_ids_that_fell_out_before_stay_out():
    logits = np.full((1, 10), -np.inf, np.float32)
    logits[0, 4] = 2.0
    np.testing.assert_array_equal(warp(logits, top_k=5, top_p=0.9), logits)


def test_the_coldest_temperature_is_finite():
    logits = np.array([[1.0, 3.0, 2.0]], np.float32)
    warped = warp(logits, temperature=1e-40)
    assert np.isfinite(warped).all()
    assert warped.argmax() == 1


def test_guidance_of_one_keeps_every_bit():
    rng = np.random.default_rng(3)
    logits, uncond = (jnp.asarray(rng.normal(size=(2, 9)), jnp.float32) for _ in range(2))
    guided = sampling.guide(logits, uncond, jnp.array([1.0, 3.0]))
    np.testing.assert_array_equal(guided[0], logits[0])
    np.testing.assert_allclose(guided[1], 3 * logits[1] - 2 * uncond[1], rtol=1e-5, atol=1e-6)


def draw(logits, **settings):
    return draw_with_margins(logits, **settings)[0]


def draw_with_margins(logits, *, position=0, num_codes=None, eos_token_id=10**6, gumbel=None, **settings):
    settings.setdefault("seeds", range(len(logits)))
    how = sampling.sampling_params(
        len(logits), num_codes=num_codes or logits.shape[1], **settings | {"seeds": list(settings["seeds"])}
    )
    positions = jnp.full(len(logits), position)
    logits = jnp.asarray(logits, jnp.float32)
    drawn = sampling.draw(how, logits, None, positions, eos_token_id=eos_token_id, gumbel=gumbel)
    return tuple(map(np.asarray, drawn))


def test_draws_follow_the_softmax():
    logits, count = np.array([0.0, 1.0, 2.0, -1.0]), 20_000
    codes = draw(np.tile(logits, (count, 1)), temperature=0.7)
    expected = np.exp(logits / 0.7) / np.exp(logits / 0.7).sum()
    seen = np.bincount(codes, minlength=4) / count
    assert (np.abs(seen - expected) < 5 * np.sqrt(expected * (1 - expected) / count)).all()


def test_the_noise_is_that_of_seed_and_position_alone():
    seeds, positions = jnp.array([7, 2**32 - 1, 7], jnp.uint32), jnp.array([3, 0, 4])
    noise = sampling.gumbel_noise(seeds, positions, 11)
    for row, seed, position in zip(noise, seeds, positions, strict=True):
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), position)
        np.testing.assert_array_equal(row, jax.random.gumbel(key, (11,)))
    assert not np.array_equal(noise[0], noise[2])


def test_given_noise_decides_the_draw():
    logits = np.zeros((2, 5))
    noise = jnp.zeros((2, 5)).at[0, 3].set(9.0).at[1, 1].set(9.0)
    np.testing.assert_array_equal(draw(logits, gumbel=noise), [3, 1])


def test_greedy_draws_nothing():
    logits = np.random.default_rng(4).normal(size=(50, 12))
    np.testing.assert_array_equal(draw(logits, greedy=True, temperature=5.0), logits.argmax(-1))


def test_the_margin_is_over_the_second_best_of_what_may_be_drawn():
    logits = np.array([[0.0, 5.0, 3.0, 4.0, 9.0]] * 2)
    noise = jnp.zeros((2, 5)).at[1, 2].set(2.25)
    codes, margins = draw_with_margins(logits, gumbel=noise, eos_token_id=4)
    np.testing.assert_array_equal(codes, [1, 2])
    np.testing.assert_array_equal(margins, [1.0, 0.25])
    _, margins = draw_with_margins(logits, gumbel=noise, num_codes=4, temperature=0.5, top_k=[2, 1])
    np.testing.assert_array_equal(margins, [2.0, np.inf])
    _, margins = draw_with_margins(logits, gumbel=noise, num_codes=4, greedy=True)
    np.testing.assert_array_equal(margins, [1.0, 1.0])


def test_only_near_ties_depend_on_the_rounding_of_logits():
    """Half of the margin is what one logit may be off before another code wins."""
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(100_000, 4)).astype(np.float32)
    off = rng.uniform(-0.49, 0.49, logits.shape).astype(np.float32) * np.float32(sampling.NEAR_TIE)
    codes, margins = draw_with_margins(logits)
    differs = draw(logits + off) != codes
    assert differs.any()
    assert (margins[differs] < sampling.NEAR_TIE).all()
    assert (margins < sampling.NEAR_TIE).mean() < 2e-3


@pytest.mark.parametrize("greedy", [True, False])
def test_padded_ids_and_eos_are_never_drawn(greedy):
    logits = np.tile(np.arange(12.0), (500, 1))  # the forbidden ones are the likeliest
    codes = draw(logits, num_codes=6, eos_token_id=5, greedy=greedy, temperature=4.0)
    assert codes.max() == 4
    assert greedy or set(codes) == set(range(5))


def test_forbidden_ids_do_not_count_among_the_likeliest():
    codes = draw(np.tile(np.arange(12.0), (300, 1)), num_codes=6, top_k=2, temperature=3.0)
    assert set(codes) == {4, 5}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("top_p", 0.0),
        ("top_p", 1.0001),
        ("top_p", [0.5, 2.0]),
        ("top_k", -1),
        ("top_k", 2.5),
        ("top_k", [1, 2, 3]),
        ("guidance_scale", float("inf")),
        ("guidance_scale", 1e39),
        ("seeds", [1, -1]),
        ("seeds", [1, 2**32]),
        ("seeds", [1]),
        ("seeds", 5),
        ("num_codes", 0),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(InvalidValue, match=name) as caught:
        sampling.sampling_params(2, **{"num_codes": 4, name: value})
    assert caught.value.param == name
    assert isinstance(caught.value, ValueError)


def test_seeds_not_given_are_fresh():
    first, second = (np.asarray(sampling.sampling_params(8, num_codes=4).seed) for _ in range(2))
    assert len({*first.tolist(), *second.tolist()}) == 16
