"""Drawing a batch code by code."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.families.dalle_bart import family as dalle_bart
from model_core.sampler.decode_loop import TO_BE_DRAWN

TINY = dalle_bart.DalleBartConfig(
    encoder_vocab_size=4,
    image_vocab_size=20,
    image_length=4,
    max_text_length=2,
    d_model=8,
    encoder_layers=1,
    encoder_attention_heads=2,
    encoder_ffn_dim=4,
    decoder_layers=1,
    decoder_attention_heads=2,
    decoder_ffn_dim=12,
    decoder_start_token_id=20,
    eos_token_id=21,
)


def start(tiny_dalle_bart, text, guidance_scale=3.0, **uncond):
    config, params = tiny_dalle_bart
    weights = dalle_bart.decoder_weights(params)
    states = dalle_bart.encode(config, params, text.tokens, text.mask)
    given = {
        "states_uncond": dalle_bart.encode(config, params, text.tokens_uncond, text.mask_uncond),
        "text_mask_uncond": text.mask_uncond,
    } | uncond
    how = dalle_bart.sampling_params(3, num_codes=20, seeds=[1, 2, 3], guidance_scale=guidance_scale)
    return config, weights, dalle_bart.start(config, weights, states, text.mask, sampling=how, **given)


def test_steps_in_any_portions_are_the_same(tiny_dalle_bart, tiny_text):
    config, weights, drawing = start(tiny_dalle_bart, tiny_text)
    at_once = dalle_bart.advance(config, weights, drawing, config.image_length).codes
    config, weights, drawing = start(tiny_dalle_bart, tiny_text)
    for steps in (1, 4, 0, config.image_length - 5):
        drawing = dalle_bart.advance(config, weights, drawing, steps)
    np.testing.assert_array_equal(drawing.codes, at_once)


def test_codes_to_come_are_marked(tiny_dalle_bart, tiny_text):
    config, weights, drawing = start(tiny_dalle_bart, tiny_text)
    drawing = dalle_bart.advance(config, weights, drawing, 4)
    assert (np.asarray(drawing.codes[:, 4:]) == TO_BE_DRAWN).all()
    assert (np.asarray(drawing.codes[:, :4]) >= 0).all()


def test_the_rows_of_an_image_take_the_same_codes(tiny_dalle_bart, tiny_text):
    config, weights, drawing = start(tiny_dalle_bart, tiny_text)
    codes = np.asarray(dalle_bart.advance(config, weights, drawing, config.image_length).codes)
    np.testing.assert_array_equal(codes[:3], codes[3:])


def test_rows_at_their_end_stay_there(tiny_dalle_bart, tiny_text):
    config, weights, drawing = start(tiny_dalle_bart, tiny_text)
    drawing = dalle_bart.advance(config, weights, drawing, config.image_length)
    done = np.asarray(drawing.codes)
    np.testing.assert_array_equal(dalle_bart.advance(config, weights, drawing, 2).codes, done)


def test_codes_that_are_given_are_kept_and_followed(tiny_dalle_bart, tiny_text):
    """What is drawn after a given code is what is drawn after the same code drawn."""
    config, weights, drawing = start(tiny_dalle_bart, tiny_text)
    free = np.asarray(dalle_bart.advance(config, weights, drawing, config.image_length).codes)
    given = np.full_like(free, TO_BE_DRAWN)
    given[:, [0, 1, 5]] = free[:, [0, 1, 5]]
    config, weights, drawing = start(tiny_dalle_bart, tiny_text)
    drawing = dalle_bart.advance(config, weights, replace(drawing, codes=jnp.asarray(given)), config.image_length)
    np.testing.assert_array_equal(drawing.codes, free)
    given[:, 5] = (free[:, 5] + 1) % 19
    config, weights, drawing = start(tiny_dalle_bart, tiny_text)
    drawing = dalle_bart.advance(config, weights, replace(drawing, codes=jnp.asarray(given)), config.image_length)
    np.testing.assert_array_equal(drawing.codes[:, :5], free[:, :5])
    np.testing.assert_array_equal(drawing.codes[:, 5], given[:, 5])


def test_codes_after_other_roundings_differ_first_at_a_near_tie():
    """Weights that are off by a little stand for other roundings; logits are small, for near ties to be frequent."""
    count, config = 300, TINY
    rng = np.random.default_rng(0)
    shapes = dalle_bart.param_shapes(config)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * 0.3, shapes)
    params["lm_head"]["kernel"] *= 0.03
    off = jax.tree.map(lambda leaf: leaf * rng.uniform(0.998, 1.002, leaf.shape).astype(np.float32), params)
    states = rng.normal(size=(count, 2, config.d_model)).astype(np.float32)
    how = dalle_bart.sampling_params(count, num_codes=20, seeds=range(count), guidance_scale=1.0, greedy=True)

    def draw(params):
        weights = dalle_bart.decoder_weights(params)
        drawing = dalle_bart.start(config, weights, states, np.ones((count, 2), np.int32), None, None, how)
        drawing = dalle_bart.advance(config, weights, drawing, config.image_length)
        return np.asarray(drawing.codes), np.asarray(drawing.near_ties)

    (codes, near_ties), (codes_off, _) = draw(params), draw(off)
    differs = codes != codes_off
    images = differs.any(1)
    assert 3 <= images.sum() < near_ties.any(1).sum() < count / 2
    assert near_ties[images, differs[images].argmax(1)].all()


@pytest.mark.parametrize(("scale", "rows"), [(3.0, 6), ([1.0, 1.0, 2.0], 6), (1.0, 3)])
def test_unconditional_rows_are_there_only_for_guidance(tiny_dalle_bart, tiny_text, scale, rows):
    _, _, drawing = start(tiny_dalle_bart, tiny_text, guidance_scale=scale)
    assert drawing.state.position.shape == (rows,)


def test_guidance_without_an_unconditional_text_is_refused(tiny_dalle_bart, tiny_text):
    with pytest.raises(InvalidValue, match="unconditional"):
        start(tiny_dalle_bart, tiny_text, states_uncond=None)


@pytest.mark.usefixtures("unchecked")
def test_an_unconditional_text_of_another_shape_is_refused(tiny_dalle_bart, tiny_text):
    with pytest.raises(InvalidValue, match="shape"):
        start(tiny_dalle_bart, tiny_text, states_uncond=np.zeros((3, 5, 16), np.float32))
