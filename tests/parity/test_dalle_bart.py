"""DalleBart and its sampling against dalle-mini 0.1.5."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core import families
from model_core.families.dalle_bart import family as dalle_bart
from model_core.sampler.sampling import stacked
from model_core.sampler.sampling import warp as warp_logits
from model_core.sampler.sequence import Sampling
from tests.parity.comparisons import WARPED, compare_dalle_bart, compare_float16, load_goldens

NAMES = ["dalle-tiny", "dalle-tiny-unscanned", "dalle-tiny-fp16"]


@pytest.mark.parametrize("name", NAMES)
def test_states_logits_and_all_codes_are_the_reference(name):
    assert [comparison for comparison in compare_dalle_bart(name) if not comparison.passes] == []


def test_float16_is_near_the_reference():
    assert [comparison for comparison in compare_float16() if not comparison.passes] == []


# The float16 file is left out: its goldens hold sums of embeddings rounded to float16, which the comparisons allow for.
@pytest.mark.parametrize("name", NAMES[:2])
def test_cached_logits_are_the_reference(name, fixtures):
    goldens = load_goldens(name)
    _, config, params = families.load(fixtures / name)
    weights = dalle_bart.step_weights(params)
    mask, codes = goldens["attention_mask"], goldens["decoder_input_ids"]
    states = dalle_bart.encode(config, params, goldens["input_ids"], mask)
    state = dalle_bart.prefill(config, weights, dalle_bart.read_text(config, weights, states, mask), codes[:, :0])
    step = jax.jit(partial(dalle_bart.step, config), static_argnums=4)
    for number in range(config.image_length):
        position = jnp.full(len(codes), number, jnp.int32)
        logits, state = step(weights, state, codes[:, number, None], position, config.image_length)
        expected = goldens["logits_cached"][:, number, : logits.shape[-1]]
        np.testing.assert_allclose(logits[:, 0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES[:2])
def test_logits_of_the_family_are_the_reference(name, fixtures):
    """Without start token, and of the codebook alone."""
    goldens = load_goldens(name)
    family, config, params = families.load(fixtures / name)
    states = family.encode(config, params, goldens["input_ids"], goldens["attention_mask"])
    codes = goldens["decoder_input_ids"][:, 1:]
    logits = family.logits(config, params, states, goldens["attention_mask"], codes)
    assert logits.shape == (*goldens["decoder_input_ids"].shape, config.grid.codebook)
    np.testing.assert_allclose(logits, goldens["logits"][..., : config.grid.codebook], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("warp", WARPED)
def test_warped_logits_are_the_reference(name, warp):
    """Equal at every id but eos, which this project never draws.

    One recording keeps it: dalle-tiny-unscanned with top_k 50, more than there are ids. There the recorded eos logit is
    the unmasked one, although the recording's description says that eos was set to -inf before.
    """
    goldens = load_goldens(name)
    eos = {"dalle-tiny": None, "dalle-tiny-unscanned": 48, "dalle-tiny-fp16": 65}[name]  # None: beyond the logits
    temperature, top_k, top_p = WARPED[warp]
    for position in goldens["warp_steps"]:
        logits = goldens[f"warp_in_{position}"].copy()
        if eos is not None:
            logits[:, eos] = -np.inf
        how = stacked([Sampling(temperature=temperature, top_k=top_k, top_p=top_p)] * len(logits))
        got = np.asarray(warp_logits(jnp.asarray(logits), how["temperature"], how["top_k"], how["top_p"]))
        expected = goldens[f"warp_{warp}_{position}"].copy()
        if eos is not None:
            expected[:, eos] = -np.inf
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
        np.testing.assert_allclose(got, expected, rtol=1e-6)
