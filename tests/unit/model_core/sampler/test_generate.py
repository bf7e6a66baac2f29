"""What holds for the codes of any weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.families.conditions import Condition
from model_core.families.dalle_bart import family as dalle_bart
from model_core.sampler import sampling
from model_core.sampler.compile_counter import CompileCounter
from model_core.sampler.generate import generate as generate_codes
from model_core.sampler.sequence import Sampling


@pytest.fixture(scope="module")
def generate(small, tiny_conditions):
    """Draws for the three texts, or some of them; guided unless told otherwise."""

    def call(*which, **settings):
        which = which or (0, 1, 2)
        defaults = {"seeds": [11, 12, 13][: len(which)], "guidance_scale": 10.0}
        prompts, unconditional = ([conditions[i] for i in which] for conditions in tiny_conditions)
        return generate_codes(dalle_bart, *small, prompts, unconditional, **defaults | settings)

    return call


@pytest.fixture(scope="module")
def guided_logits(small, tiny_conditions):
    """Teacher-forced: the guided logits at every position of given codes, -inf for eos."""

    def call(codes, scale):
        def logits(conditions):
            return dalle_bart.logits(*small, *together(conditions), codes[:, :-1])

        prompts, unconditional = map(logits, tiny_conditions)
        return (unconditional + scale * (prompts - unconditional)).at[..., 19].set(-jnp.inf)

    return call


def together(conditions):
    return tuple(np.stack([getattr(one, name) for one in conditions]) for name in ("values", "mask"))


def test_greedy_codes_are_the_likeliest_of_the_guided_logits(generate, guided_logits):
    codes = generate(greedy=True, guidance_scale=3.0, num_codes=18)
    np.testing.assert_array_equal(guided_logits(codes, 3.0)[..., :18].argmax(-1), codes)


def test_greedy_codes_do_not_depend_on_how_they_would_be_drawn(generate):
    np.testing.assert_array_equal(
        generate(greedy=True), generate(greedy=True, seeds=[1, 2, 3], temperature=0.1, top_k=5, top_p=0.5)
    )


def test_parameters_may_lie_on_the_host(small, tiny_conditions, generate):
    """As training hands them over."""
    host = jax.device_get(small.params)
    conditions = [given[:1] for given in tiny_conditions]
    codes = generate_codes(dalle_bart, small.config, host, *conditions, seeds=[11], guidance_scale=10.0)
    np.testing.assert_array_equal(codes, generate(0))


def test_noise_given_decides_every_code(generate, guided_logits):
    """And each of the settings does what it says, in the order that is promised."""
    noise = np.random.default_rng(0).gumbel(size=(3, 9, 21)).astype(np.float32)
    settings = {"temperature": 0.8, "top_k": 6, "top_p": 0.9}
    codes = generate(gumbel=noise, guidance_scale=2.0, num_codes=18, **settings)
    logits = guided_logits(codes, 2.0)[..., :18]
    how = sampling.stacked([Sampling(**settings)] * 3)
    for position in range(9):
        warped = sampling.warp(logits[:, position], how["temperature"], how["top_k"], how["top_p"])
        np.testing.assert_array_equal((warped + noise[:, position, :18]).argmax(-1), codes[:, position])


def test_a_seed_is_the_noise_of_its_positions(generate):
    seeds = [5, 2**32 - 1, 0]

    def noise(seed, position):
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), position)
        return jax.random.gumbel(key, (21,))

    recorded = np.array([[noise(np.uint32(seed), position) for position in range(9)] for seed in seeds])
    np.testing.assert_array_equal(generate(seeds=seeds), generate(gumbel=recorded))


def test_an_image_does_not_depend_on_its_batch(generate):
    batch = generate(seeds=[1, 2, 3])
    np.testing.assert_array_equal(generate(0, seeds=[1])[0], batch[0])
    np.testing.assert_array_equal(generate(2, 0, 1, seeds=[3, 1, 2]), batch[[2, 0, 1]])


def test_other_seeds_give_other_codes(generate):
    assert len({tuple(row) for row in generate(0, 0, 0, seeds=[1, 2, 3])}) == 3
    assert len({tuple(row) for row in generate(0, 0, 0, seeds=[1, 1, 1])}) == 1


def test_seeds_not_given_are_fresh(generate):
    assert not np.array_equal(generate(seeds=None), generate(seeds=None))


def test_guidance_of_one_is_none(small, generate, tiny_conditions):
    unguided = generate(guidance_scale=1.0)
    alone = generate_codes(
        dalle_bart, *small, tiny_conditions.prompts, None, guidance_scale=1.0, seeds=np.array([11, 12, 13])
    )
    np.testing.assert_array_equal(alone, unguided)
    mixed = generate(guidance_scale=[1.0, 10.0, 1.0])
    np.testing.assert_array_equal(mixed[[0, 2]], unguided[[0, 2]])
    np.testing.assert_array_equal(mixed[1], generate()[1])
    assert not np.array_equal(mixed[1], unguided[1])


def test_parameters_per_image_are_those_of_each_alone(generate):
    settings = {"guidance_scale": [2.0, 5.0, 9.0], "temperature": [0.5, 1.0, 1.7], "top_k": [0, 4, 9]}
    settings["top_p"] = (0.7, 1.0, 0.95)
    batch = generate(**settings)
    for i in range(3):
        alone = generate(**{name: values[i] for name, values in settings.items()})
        np.testing.assert_array_equal(alone[i], batch[i])


def test_changing_parameters_never_recompiles(generate):
    generate()
    generate(guidance_scale=1.0)
    generate(greedy=True)
    counter = CompileCounter()
    with counter.watch():
        generate(guidance_scale=7.5, temperature=0.3, seeds=[4, 5, 6])
        generate(guidance_scale=1.0, top_k=5)
        generate(top_p=0.5, top_k=np.array([1, 2, 3]), temperature=2)
        generate(guidance_scale=[1, 2, 3], greedy=True)
    assert counter.count == 0


@pytest.mark.parametrize("num_codes", [None, 18])
def test_what_may_not_be_drawn_is_not(generate, num_codes):
    """Neither eos, which is 19, nor ids from `num_codes` on."""
    drawn = {
        code for seed in range(12) for code in generate(seeds=[seed] * 3, temperature=50.0, num_codes=num_codes).flat
    }
    assert drawn == set(range(num_codes or 21)) - {19}


def test_a_prefix_stays_and_is_followed(generate):
    free = generate()
    np.testing.assert_array_equal(generate(prefix=free[:, :4]), free)
    other = (free[:1, :4] + 1) % 19
    codes = generate(prefix=other)
    np.testing.assert_array_equal(codes[:, :4], np.repeat(other, 3, axis=0))
    assert not np.array_equal(codes[:, 4:], free[:, 4:])


def test_a_prefix_may_leave_codes_to_be_drawn(generate):
    free = generate()
    prefix = free[:, :6].copy()
    prefix[:, 2:5] = -1
    np.testing.assert_array_equal(generate(prefix=prefix), free)
    np.testing.assert_array_equal(generate(prefix=free), free)
    np.testing.assert_array_equal(generate(prefix=free[:, :0]), free)


@pytest.mark.usefixtures("unchecked")
def test_conditions_are_one_of_all_or_a_list(small, generate, tiny_conditions):
    stacked = (Condition(*together(conditions)) for conditions in tiny_conditions)
    codes = generate_codes(dalle_bart, *small, *stacked, guidance_scale=10.0, seeds=[11, 12, 13])
    np.testing.assert_array_equal(codes, generate())


def test_codes_are_int32(generate):
    codes = generate()
    assert codes.shape == (3, 9)
    assert codes.dtype == np.int32


def test_images_are_drawn_in_the_dtype_of_the_parameters(small, tiny_conditions):
    config, params = small
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    codes = generate_codes(dalle_bart, config, params, *tiny_conditions, guidance_scale=3.0, seeds=[1, 2, 3])
    assert codes.shape == (3, 9) and codes.min() >= 0


def test_guidance_without_an_unconditional_text_is_refused(small, tiny_conditions):
    with pytest.raises(InvalidValue, match="no text to lead away from") as caught:
        generate_codes(dalle_bart, *small, tiny_conditions.prompts, None, guidance_scale=3.0)
    assert caught.value.param == "guidance_scale"


def test_an_unconditional_text_for_some_images_is_refused(small, tiny_conditions):
    prompts, unconditional = tiny_conditions
    with pytest.raises(InvalidValue, match="3 conditions and 2 unconditions"):
        generate_codes(dalle_bart, *small, prompts, unconditional[:2], guidance_scale=3.0)


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": [1.0, 2.0]}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": [1.5, 2, 3]}, "top_k"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"seeds": [1, 2]}, "seeds"),
        ({"seeds": [1, -1, 2]}, "seed"),
        ({"gumbel": np.zeros((3, 8, 21), np.float32)}, "gumbel"),
        ({"gumbel": np.zeros((3, 9, 20), np.float32)}, "gumbel"),  # one code too few
        ({"prefix": np.full((3, 2), 21)}, "fixed_codes"),
        ({"prefix": np.zeros((3, 10), np.int32)}, "prefix"),
        ({"prefix": np.zeros((2, 4), np.int32)}, "prefix"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_out_of_range_is_refused_by_name(generate, settings, param):
    with pytest.raises(InvalidValue) as caught:
        generate(**settings)
    assert caught.value.param == param
