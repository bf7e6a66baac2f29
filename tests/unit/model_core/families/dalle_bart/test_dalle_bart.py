"""The forward pass: what holds for any weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart.layers import EncoderLayer
from model_core.families.dalle_bart.network import DalleBart


@pytest.fixture(scope="module")
def codes(tiny_dalle_bart):
    """What the decoder is fed for nine positions: the start token and eight codes."""
    config = tiny_dalle_bart.config
    drawn = np.random.default_rng(1).integers(0, config.image_vocab_size, (3, config.image_length - 1))
    return jnp.concatenate([jnp.full((3, 1), config.decoder_start_token_id), drawn], axis=1)


@pytest.fixture(scope="module")
def full_logits(tiny_dalle_bart, tiny_text, codes):
    return dalle_bart.forward(*tiny_dalle_bart, tiny_text.tokens, tiny_text.mask, codes)


@pytest.fixture(scope="module")
def states(tiny_dalle_bart, tiny_text):
    return dalle_bart.encode(*tiny_dalle_bart, tiny_text.tokens, tiny_text.mask)


def test_logits_score_every_code_given_those_before_it(tiny_dalle_bart, tiny_text, states, codes, full_logits):
    """Codes alone: the start token is fed, and not scored."""
    for length in (0, 4, 8):
        logits = dalle_bart.logits(*tiny_dalle_bart, states, tiny_text.mask, codes[:, 1 : length + 1])
        assert logits.shape == (3, length + 1, 21)
        np.testing.assert_allclose(logits, full_logits[:, : length + 1, :21], atol=1e-5)


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


@pytest.mark.parametrize("dtype", [pytest.param(jnp.float16, marks=pytest.mark.exhaustive), jnp.bfloat16])
def test_computation_is_in_the_dtype_of_the_parameters(tiny_dalle_bart, tiny_text, dtype):
    config = tiny_dalle_bart.config
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), tiny_dalle_bart.params)
    states = dalle_bart.encode(config, params, tiny_text.tokens, tiny_text.mask)
    assert states.dtype == dtype
    codes = np.zeros((3, 2), np.int32)
    assert dalle_bart.logits(config, params, states, tiny_text.mask, codes).dtype == jnp.float32
    weights = dalle_bart.step_weights(params)

    @jax.jit
    def begin(weights, states, codes):
        text = dalle_bart.read_text(config, weights, states.astype(jnp.float32), jnp.asarray(tiny_text.mask))
        state = dalle_bart.prefill(config, weights, text, codes)
        return state, *dalle_bart.step(config, weights, state, codes[:, :1], jnp.full(3, 2), 9)

    state, logits, after = begin(weights, states, codes)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype(dtype), jnp.dtype(bool)}
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.dtype(dtype), jnp.dtype(bool)}


@pytest.mark.exhaustive
def test_gradients_are_the_same_with_and_without_remat(tiny_dalle_bart, tiny_text):
    config, params = tiny_dalle_bart
    codes = np.random.default_rng(6).integers(0, 20, (3, 9))

    def loss(params, remat):
        scores = dalle_bart.forward(config, params, tiny_text.tokens, tiny_text.mask, codes, remat=remat)
        return -jnp.take_along_axis(jax.nn.log_softmax(scores), codes[..., None], -1).mean()

    plain, cheap = (jax.jit(jax.grad(loss), static_argnums=1)(params, remat) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain, cheap)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(plain))


@pytest.mark.usefixtures("unchecked")
def test_sizes_beyond_the_model_are_refused(tiny_dalle_bart, tiny_text):
    with pytest.raises(InvalidValue, match="reads 6"):
        dalle_bart.encode(*tiny_dalle_bart, np.ones((1, 7), np.int32), np.ones((1, 7), np.int32))
    with pytest.raises(InvalidValue, match="text_mask"):
        dalle_bart.encode(*tiny_dalle_bart, tiny_text.tokens, tiny_text.mask[:, :5])
    states = np.zeros((1, 6, 16), np.float32)
    with pytest.raises(InvalidValue, match="has 9"):
        dalle_bart.decoder_logits(*tiny_dalle_bart, np.zeros((1, 10), np.int32), states, np.ones((1, 6), np.int32))
    with pytest.raises(InvalidValue, match="10 positions"):
        dalle_bart.logits(*tiny_dalle_bart, states, np.ones((1, 6), np.int32), np.zeros((1, 9), np.int32))
