"""Sampling: what is kept, in which order, and which noise decides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.sampler import sampling
from model_core.sampler.sequence import Sampling


def stacked(count, **settings):
    """One value for all of so many images, or a list of one each."""
    lists = {name: value if isinstance(value, list) else [value] * count for name, value in settings.items()}
    return sampling.stacked(Sampling(**{name: values[i] for name, values in lists.items()}) for i in range(count))


def warp(logits, **settings):
    how = stacked(len(logits), **settings)
    return np.asarray(sampling.warp(jnp.asarray(logits, jnp.float32), how["temperature"], how["top_k"], how["top_p"]))


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


def test_what_is_no_code_stays_none_under_guidance():
    logits, uncond = jnp.array([[1.0, -jnp.inf, 3.0]] * 2), jnp.array([[2.0, -jnp.inf, 1.0]] * 2)
    guided = sampling.guide(logits, uncond, jnp.array([1.0, 3.0]))
    np.testing.assert_array_equal(guided, [[1.0, -np.inf, 3.0], [-1.0, -np.inf, 7.0]])


def test_settings_of_several_images_are_arrays():
    how = sampling.stacked([Sampling(guidance_scale=3, top_k=2**40), Sampling(temperature=0.5, top_p=0.25, top_k=7)])
    whole = {"top_k": [2**31 - 1, 7], "guided_codes": [0, 0]}
    expected = {"guidance_scale": [3, 1], "temperature": [1, 0.5], "top_p": [1, 0.25]} | whole
    assert {name: values.tolist() for name, values in how.items()} == expected
    assert {name: values.dtype for name, values in how.items()} == {
        name: np.int32 if name in whole else np.float32 for name in expected
    }


def draw(logits, **settings):
    return draw_with_margins(logits, **settings)[0]


def draw_with_margins(logits, *, uncond=None, position=0, seeds=None, noise=None, **settings):
    logits, count = jnp.asarray(logits, jnp.float32), len(logits)
    seeds = jnp.asarray(range(count) if seeds is None else seeds, jnp.uint32)
    drawn = sampling.draw(stacked(count, **settings), seeds, logits, uncond, jnp.full(count, position), noise)
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
    np.testing.assert_array_equal(draw(logits, noise=noise), [3, 1])


def test_an_image_is_drawn_with_its_own_seed_and_guidance():
    rng = np.random.default_rng(4)
    logits, uncond = (jnp.asarray(rng.normal(size=(4, 40)), jnp.float32) for _ in range(2))
    seeds, scales = [8, 9, 8, 7], [1.0, 3.0, 10.0, 1.0]
    together = draw(logits, uncond=uncond, seeds=seeds, guidance_scale=scales, position=5)
    for i in range(4):
        one = {"uncond": uncond[i : i + 1], "seeds": seeds[i : i + 1], "guidance_scale": scales[i]}
        np.testing.assert_array_equal(draw(logits[i : i + 1], position=5, **one), together[i : i + 1])


def test_guidance_may_end_before_the_image_does():
    logits, uncond = (jnp.asarray(np.random.default_rng(i).normal(size=(2, 50)), jnp.float32) for i in range(2))
    how = {"uncond": uncond, "guidance_scale": 20.0, "seeds": jnp.arange(2, dtype=jnp.uint32)}
    guided, alone = (
        [draw(logits, **how | changes, position=at) for at in (2, 3)] for changes in ({}, {"guidance_scale": 1.0})
    )
    ends_at_three = [draw(logits, **how, guided_codes=3, position=at) for at in (2, 3)]
    np.testing.assert_array_equal(ends_at_three, [guided[0], alone[1]])
    assert (guided[1] != alone[1]).any()


def test_the_margin_is_over_the_second_best_of_what_may_be_drawn():
    logits = np.array([[0.0, 5.0, 3.0, 4.0, -np.inf]] * 2)
    noise = jnp.zeros((2, 5)).at[1, 2].set(2.25).at[:, 4].set(9.0)
    codes, margins = draw_with_margins(logits, noise=noise)
    np.testing.assert_array_equal(codes, [1, 2])
    np.testing.assert_array_equal(margins, [1.0, 0.25])
    _, margins = draw_with_margins(logits, noise=noise, temperature=0.5, top_k=[2, 1])
    np.testing.assert_array_equal(margins, [2.0, np.inf])


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("of_uncond", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"guidance_scale": 3.0}, {"top_k": 2}, {"top_k": 200}, {"top_p": 0.5}, {"temperature": 1e-6}]
)
def test_logits_that_are_not_finite_are_told_by_the_margin(bad, of_uncond, settings):
    """Of each image by itself; one such logit is enough."""
    rng = np.random.default_rng(7)
    logits, uncond = (rng.normal(size=(4, 9)).astype(np.float32) for _ in range(2))
    (uncond if of_uncond else logits)[2, 5] = bad
    logits[3] = uncond[3] = np.where(np.arange(9) == 4, 1.0, -np.inf)  # what is no code is not wrong
    codes, margins = draw_with_margins(logits, uncond=jnp.asarray(uncond), **settings)
    np.testing.assert_array_equal(np.isnan(margins), [False, False, True, False])
    assert codes[3] == 4 and margins[3] == np.inf


def test_settings_that_overflow_are_not_the_logits_fault():
    rng = np.random.default_rng(8)
    logits, uncond = (rng.normal(size=(1, 9)).astype(np.float32) * 50 for _ in range(2))
    for settings in ({"guidance_scale": 3e38}, {"temperature": 1e-300, "guidance_scale": 1e30}):
        _, margins = draw_with_margins(logits, uncond=jnp.asarray(uncond), **settings)
        assert not np.isnan(margins).any()


def test_only_near_ties_depend_on_the_rounding_of_logits():
    """Half of the margin is what one logit may be off before another code wins."""
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(30_000, 4)).astype(np.float32)
    off = rng.uniform(-0.49, 0.49, logits.shape).astype(np.float32) * np.float32(sampling.NEAR_TIE)
    codes, margins = draw_with_margins(logits)
    differs = draw(logits + off) != codes
    assert differs.any()
    assert (margins[differs] < sampling.NEAR_TIE).all()
    assert (margins < sampling.NEAR_TIE).mean() < 2e-3


@pytest.mark.parametrize("settings", [{"temperature": 4.0}, {"guidance_scale": 0.5}, {"top_k": 9}, {"top_p": 0.999999}])
def test_what_is_no_code_is_never_drawn(settings):
    logits = np.tile(np.where(np.arange(12) < 5, 0.0, -np.inf), (500, 1))
    assert set(draw(logits, uncond=jnp.asarray(logits, jnp.float32), **settings)) == set(range(5))


def test_what_is_no_code_does_not_count_among_the_likeliest():
    logits = np.tile(np.where(np.arange(12) < 6, np.arange(12.0), -np.inf), (300, 1))
    assert set(draw(logits, top_k=2, temperature=3.0)) == {4, 5}


@pytest.mark.parametrize("top_p", [1e-39, 1e-300])
def test_the_smallest_share_is_the_likeliest_code(top_p):
    """The first is no normal number in float32, the second none at all."""
    logits = np.random.default_rng(6).normal(size=(50, 12))
    np.testing.assert_array_equal(draw(logits, top_p=top_p), logits.argmax(-1))
