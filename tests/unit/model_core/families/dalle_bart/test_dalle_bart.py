"""What holds for the codes of any weights."""

from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.families.dalle_bart import family as dalle_bart
from model_core.sampler import sampling


@pytest.fixture(scope="module")
def generate(tiny_dalle_bart):
    def call(text, **settings):
        return np.asarray(dalle_bart.generate(*tiny_dalle_bart, *text, **{"seeds": [11, 12, 13], **settings}))

    return call


@pytest.fixture(scope="module")
def guided_logits(tiny_dalle_bart):
    """Teacher-forced: the guided logits at every position of given codes."""
    config, params = tiny_dalle_bart

    def call(text, codes, scale):
        fed = jnp.concatenate([jnp.full((len(codes), 1), config.decoder_start_token_id), codes[:, :-1]], axis=1)
        conditional = dalle_bart.forward(config, params, text.tokens, text.mask, fed)
        unconditional = dalle_bart.forward(config, params, text.tokens_uncond, text.mask_uncond, fed)
        return np.asarray(unconditional + scale * (conditional - unconditional))

    return call


@contextmanager
def counted_compilations():
    seen = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_greedy_codes_are_the_likeliest_of_the_guided_logits(generate, guided_logits, tiny_text):
    codes = generate(tiny_text, greedy=True, guidance_scale=3.0, num_codes=19)
    np.testing.assert_array_equal(guided_logits(tiny_text, codes, 3.0)[..., :19].argmax(-1), codes)


def test_noise_given_decides_every_code(generate, guided_logits, tiny_dalle_bart, tiny_text):
    config = tiny_dalle_bart.config
    noise = np.random.default_rng(0).gumbel(size=(3, config.image_length, config.logits_width)).astype(np.float32)
    codes = generate(tiny_text, gumbel=noise, guidance_scale=2.0, temperature=0.8, top_k=6, top_p=0.9, num_codes=19)
    logits = jnp.where(jnp.arange(config.logits_width) < 19, guided_logits(tiny_text, codes, 2.0), -jnp.inf)
    for position in range(config.image_length):
        how = sampling.sampling_params(3, num_codes=19, temperature=0.8, top_k=6, top_p=0.9)
        warped = sampling.warp(logits[:, position], how.temperature, how.top_k, how.top_p)
        np.testing.assert_array_equal((warped + noise[:, position]).argmax(-1), codes[:, position])


def test_a_seed_is_the_noise_of_its_positions(generate, tiny_dalle_bart, tiny_text):
    config, seeds = tiny_dalle_bart.config, [5, 2**32 - 1, 0]

    def noise(seed, position):
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), position)
        return jax.random.gumbel(key, (config.logits_width,))

    recorded = np.array([[noise(np.uint32(seed), p) for p in range(config.image_length)] for seed in seeds])
    np.testing.assert_array_equal(generate(tiny_text, seeds=seeds), generate(tiny_text, gumbel=recorded))


def test_an_image_does_not_depend_on_its_batch(generate, tiny_text):
    together = generate(tiny_text, seeds=[1, 2, 3])
    for i in range(3):
        np.testing.assert_array_equal(generate(tiny_text.rows(i), seeds=[i + 1])[0], together[i])
    np.testing.assert_array_equal(generate(tiny_text.rows(2, 0, 1), seeds=[3, 1, 2]), together[[2, 0, 1]])


def test_other_seeds_give_other_codes(generate, tiny_text):
    one_text = tiny_text.rows(0, 0, 0)
    assert len({tuple(row) for row in generate(one_text, seeds=[1, 2, 3])}) == 3
    assert len({tuple(row) for row in generate(one_text, seeds=[1, 1, 1])}) == 1


def test_seeds_not_given_are_fresh(generate, tiny_text):
    assert not np.array_equal(generate(tiny_text, seeds=None), generate(tiny_text, seeds=None))


def test_guidance_of_one_is_none(generate, tiny_text):
    unguided = generate(tiny_text, guidance_scale=1.0)
    np.testing.assert_array_equal(generate((*tiny_text[:2], None, None), guidance_scale=1.0), unguided)
    mixed = generate(tiny_text, guidance_scale=[1.0, 10.0, 1.0])
    np.testing.assert_array_equal(mixed[[0, 2]], unguided[[0, 2]])
    np.testing.assert_array_equal(mixed[1], generate(tiny_text, guidance_scale=10.0)[1])
    assert not np.array_equal(mixed[1], unguided[1])


def test_parameters_per_image_are_those_of_each_alone(generate, tiny_text):
    settings = {"guidance_scale": [2.0, 5.0, 9.0], "temperature": [0.5, 1.0, 1.7], "top_k": [0, 4, 9]}
    settings["top_p"] = [0.7, 1.0, 0.95]
    together = generate(tiny_text, **settings)
    for i in range(3):
        alone = generate(tiny_text, **{name: values[i] for name, values in settings.items()})
        np.testing.assert_array_equal(alone[i], together[i])


def test_changing_parameters_never_recompiles(generate, tiny_text):
    generate(tiny_text)
    generate(tiny_text, guidance_scale=1.0)
    with counted_compilations() as compilations:
        generate(tiny_text, guidance_scale=7.5, temperature=0.3, seeds=[4, 5, 6])
        generate(tiny_text, guidance_scale=1.0, top_k=5)
        generate(tiny_text, top_p=0.5, top_k=np.array([1, 2, 3]), temperature=2, num_codes=7)
        generate(tiny_text, guidance_scale=[1, 2, 3], greedy=True)
        assert not compilations
        jax.jit(lambda x: x * 3 + 1)(jnp.ones(7))
        assert compilations  # the count counts


def test_what_may_not_be_drawn_is_not(generate, tiny_text):
    texts = tiny_text.rows(*[0, 1, 2] * 40)
    for settings in ({"temperature": 50.0}, {"temperature": 50.0, "num_codes": 8}):
        codes = generate(texts, seeds=range(120), **settings)
        assert set(codes.ravel()) == set(range(settings.get("num_codes", 21))) - {19}  # 19 = eos


def test_codes_are_int32_without_the_start_token(generate, tiny_text):
    codes = generate(tiny_text)
    assert codes.shape == (3, 9)
    assert codes.dtype == np.int32


def test_shorter_code_sequences_have_the_logits_of_the_longer(tiny_dalle_bart, tiny_text):
    codes = np.random.default_rng(5).integers(0, 20, (3, 9))
    states = dalle_bart.encode(*tiny_dalle_bart, tiny_text.tokens, tiny_text.mask)
    long = dalle_bart.logits(*tiny_dalle_bart, codes, states, tiny_text.mask)
    short = dalle_bart.logits(*tiny_dalle_bart, codes[:, :4], states, tiny_text.mask)
    np.testing.assert_allclose(short, long[:, :4], atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_computation_is_in_the_dtype_of_the_parameters(tiny_dalle_bart, tiny_text, dtype):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), tiny_dalle_bart.params)
    states = dalle_bart.encode(tiny_dalle_bart.config, params, tiny_text.tokens, tiny_text.mask)
    assert states.dtype == dtype
    codes = np.zeros((3, 2), np.int32)
    logits = dalle_bart.logits(tiny_dalle_bart.config, params, codes, states, tiny_text.mask)
    assert logits.dtype == jnp.float32
    drawn = dalle_bart.generate(tiny_dalle_bart.config, params, *tiny_text, seeds=[1, 2, 3])
    assert drawn.shape == (3, 9)


def test_gradients_are_the_same_with_and_without_remat(tiny_dalle_bart, tiny_text):
    config, params = tiny_dalle_bart
    codes = np.random.default_rng(6).integers(0, 20, (3, 9))

    def loss(params, remat):
        scores = dalle_bart.forward(config, params, tiny_text.tokens, tiny_text.mask, codes, remat=remat)
        return -jnp.take_along_axis(jax.nn.log_softmax(scores), codes[..., None], -1).mean()

    plain, cheap = (jax.jit(jax.grad(loss), static_argnums=1)(params, remat) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain, cheap)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(plain))


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"seeds": [1, 2]}, "seeds"),
        ({"gumbel": np.zeros((3, 9, 21), np.float32)}, "gumbel"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(generate, tiny_text, settings, param):
    with pytest.raises(InvalidValue) as caught:
        generate(tiny_text, **settings)
    assert caught.value.param == param


@pytest.mark.usefixtures("unchecked")
def test_sizes_beyond_the_model_are_refused(tiny_dalle_bart, tiny_text):
    with pytest.raises(InvalidValue, match="reads 6"):
        dalle_bart.encode(*tiny_dalle_bart, np.ones((1, 7), np.int32), np.ones((1, 7), np.int32))
    with pytest.raises(InvalidValue, match="text_mask"):
        dalle_bart.encode(*tiny_dalle_bart, tiny_text.tokens, tiny_text.mask[:, :5])
    states = np.zeros((1, 6, 16), np.float32)
    with pytest.raises(InvalidValue, match="has 9"):
        dalle_bart.logits(*tiny_dalle_bart, np.zeros((1, 10), np.int32), states, np.ones((1, 6), np.int32))
