"""The decoder-only family and its sampling against DALLE-pytorch, rudalle and minDALL-E."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from model_core import families
from model_core.families.dalle_gpt import attention, rotary
from model_core.families.dalle_gpt import family as dalle_gpt
from tests.parity.comparisons import load_goldens
from tests.parity.dalle_gpt import NAMES, compare_dalle_gpt

step = partial(jax.jit, static_argnums=(0, 5))(dalle_gpt.step)


@pytest.mark.parametrize("name", NAMES)
def test_text_states_logits_and_all_codes_are_the_reference(name):
    assert [comparison for comparison in compare_dalle_gpt(name) if not comparison.passes] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [1, 5])
def test_cached_logits_are_the_reference(name, length, fixtures):
    """A few codes at a time."""
    goldens = load_goldens(name)
    _, config, params = families.load(fixtures / name)
    recorded = goldens["logits_image"][:2]
    ids, codes = (goldens[key][:2] for key in ("input_ids", "image_codes"))
    weights = dalle_gpt.step_weights(params)
    text = jax.jit(dalle_gpt.read_text, static_argnums=0)(config, weights, ids, np.ones_like(ids))
    state, count = dalle_gpt.prefill(config, weights, text, codes[:, :0]), config.grid.num_codes
    fed = np.pad(codes, ((0, 0), (1, length)))
    for start in range(0, count, length):
        given = jnp.asarray(fed[:, start : start + length])
        scored, state = step(config, weights, state, given, jnp.full(2, start), count)
        expected = recorded[:, start : start + length]
        np.testing.assert_allclose(scored[:, : expected.shape[1]], expected, rtol=0, atol=1e-4)


def test_masks_are_those_of_the_file(fixtures):
    goldens = load_goldens("rudalle")
    text, side = goldens["input_ids"].shape[1], 8
    for key, kind in (("row", "row"), ("col", "axial_col"), ("conv", "conv")):
        mask = attention.Sight(attention.looked_at(kind, side), None).mask()
        np.testing.assert_array_equal(mask, goldens[f"{key}_mask"][text:, text:])
        assert goldens[f"{key}_mask"][text:, :text].all()  # codes look at all of the text


def test_angles_are_those_of_the_file(fixtures):
    recorded = load_file(fixtures / "dp-rotary" / "model.safetensors")["transformer.pos_emb"][0]
    computed = rotary.angles(text=25, side=8, head_size=16)
    np.testing.assert_allclose(np.repeat(computed, 2, axis=1), recorded, rtol=1.5e-7, atol=0)
