"""One position at a time gives what all positions at once give."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.families.dalle_bart import dalle_bart
from model_core.families.dalle_bart import decoder as decoding
from model_core.families.dalle_bart.layers import BlockTable, EncoderLayer
from model_core.families.dalle_bart.network import DalleBart

step = partial(jax.jit, static_argnums=0)(decoding.decode_step)


@pytest.fixture(scope="module")
def codes(tiny_dalle_bart):
    config = tiny_dalle_bart.config
    drawn = np.random.default_rng(1).integers(0, config.image_vocab_size, (3, config.image_length - 1))
    return jnp.concatenate([jnp.full((3, 1), config.decoder_start_token_id), drawn], axis=1)


@pytest.fixture(scope="module")
def full_logits(tiny_dalle_bart, tiny_text, codes):
    return dalle_bart.forward(*tiny_dalle_bart, tiny_text.tokens, tiny_text.mask, codes)


@pytest.fixture(scope="module")
def begun(tiny_dalle_bart, tiny_text):
    """The weights, and three rows at position 0."""
    weights = dalle_bart.decoder_weights(tiny_dalle_bart.params)
    states = dalle_bart.encode(*tiny_dalle_bart, tiny_text.tokens, tiny_text.mask)
    return weights, decoding.prefill(tiny_dalle_bart.config, weights, states, jnp.asarray(tiny_text.mask, bool))


def test_cached_decoding_is_the_full_forward_pass(tiny_dalle_bart, begun, codes, full_logits):
    weights, state = begun
    for position in range(tiny_dalle_bart.config.image_length):
        logits, state = step(tiny_dalle_bart.config, weights, state, codes[:, position])
        np.testing.assert_allclose(logits, full_logits[:, position], atol=1e-4)
    assert (state.position == tiny_dalle_bart.config.image_length).all()


def test_rows_may_be_at_different_positions(tiny_dalle_bart, begun, codes, full_logits):
    weights, state = begun
    ahead = state
    for position in range(4):
        _, ahead = step(tiny_dalle_bart.config, weights, ahead, codes[:, position])
    is_ahead = np.array([True, False, True])

    def pick(a, b):
        whose = np.repeat(is_ahead, len(a) // 3)  # a leaf has a row or some blocks for each
        return jnp.where(whose.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    mixed = jax.tree.map(pick, ahead, state)
    for turn in range(3):
        positions = np.where(is_ahead, 4, 0) + turn
        np.testing.assert_array_equal(mixed.position, positions)
        logits, mixed = step(tiny_dalle_bart.config, weights, mixed, codes[np.arange(3), positions])
        np.testing.assert_allclose(logits, full_logits[np.arange(3), positions], atol=1e-4)


def test_a_prefix_read_at_once_leaves_what_steps_leave(tiny_dalle_bart, begun, codes, full_logits):
    config, length = tiny_dalle_bart.config, 5
    weights, state = begun
    prefix = jnp.zeros((3, length + 2), jnp.int32).at[:, : length - 1].set(codes[:, 1:length])  # what follows is unused
    read = jax.jit(partial(decoding.read_prefix, config))(weights, state.text, state.text_mask, prefix)
    state = replace(state, cache=read, position=jnp.full(3, length, jnp.int32))
    for position in range(length, config.image_length):
        logits, state = step(config, weights, state, codes[:, position])
        np.testing.assert_allclose(logits, full_logits[:, position], atol=1e-4)


def test_fewer_blocks_are_enough_for_early_positions(tiny_dalle_bart, begun, codes, full_logits):
    config = tiny_dalle_bart.config
    weights, state = begun
    parts = jnp.arange(6) // 3  # of the first row, the second, the third; then the second part of each
    table = BlockTable(blocks=jnp.arange(9).reshape(3, 3).T.clip(max=6), row=jnp.arange(6) % 3, part=parts)
    cache = decoding.empty_cache(config, 6, decoding.block_size(config), jnp.float32)
    state = replace(state, cache=cache, table=table)
    for position in range(6):
        logits, state = step(config, weights, state, codes[:, position])
        np.testing.assert_allclose(logits, full_logits[:, position], atol=1e-4)


def test_later_codes_do_not_change_earlier_logits(tiny_dalle_bart, tiny_text, codes, full_logits):
    changed = codes.at[:, 5:].set(0)
    logits = dalle_bart.forward(*tiny_dalle_bart, tiny_text.tokens, tiny_text.mask, changed)
    np.testing.assert_array_equal(logits[:, :5], full_logits[:, :5])
    assert not np.allclose(logits[:, 5:], full_logits[:, 5:])


def test_the_scanned_encoder_is_its_layers_in_turn(tiny_dalle_bart, tiny_text):
    config, params = tiny_dalle_bart
    encoder = DalleBart(config).bind({"params": params}).model.encoder
    mask = jnp.asarray(tiny_text.mask, bool)[:, None, None]
    x = encoder.embed(jnp.asarray(tiny_text.tokens), jnp.arange(config.max_text_length)[None])
    stacked = params["model"]["encoder"]["layers"]["FlaxBartEncoderLayers"]
    for i in range(config.encoder_layers):
        weights = jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
        x, _ = EncoderLayer(*config.encoder_sizes).bind({"params": weights})(x, mask)
    states = dalle_bart.encode(config, params, tiny_text.tokens, tiny_text.mask)
    np.testing.assert_allclose(encoder.final_ln(x), states, atol=1e-5)


def test_padding_changes_nothing_for_the_rest(tiny_dalle_bart, tiny_text, codes, full_logits):
    noise = np.where(tiny_text.mask, tiny_text.tokens, 17)
    assert not np.array_equal(noise, tiny_text.tokens)
    logits = dalle_bart.forward(*tiny_dalle_bart, noise, tiny_text.mask, codes)
    np.testing.assert_allclose(logits, full_logits, atol=1e-6)


def test_layers_are_cut_out_in_order(tiny_dalle_bart):
    params = tiny_dalle_bart.params
    weights = dalle_bart.decoder_weights(params)
    stacked = params["model"]["decoder"]["layers"]["FlaxBartDecoderLayers"]
    restacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *weights.published()[1])
    jax.tree.map(np.testing.assert_array_equal, restacked, stacked)
    assert "encoder" not in weights.shared["model"]
