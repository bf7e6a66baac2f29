"""The pipeline: seeds, best_of, negative prompts, and what it refuses. Tiny models with random weights."""

import inspect

import numpy as np
import pytest

from model_core.errors import CheckpointMismatch, InvalidValue, ModelNotFound
from model_core.pipeline import Pipeline

PROMPT = "a red fox in the snow"


@pytest.fixture(scope="module")
def pipeline(fixtures) -> Pipeline:
    parts = {"sampler": "dalle-tiny", "codec": "vqgan-tiny", "scorer": "clip-tiny"}
    return Pipeline.from_parts(**{part: fixtures / name for part, name in parts.items()}, batch_size=2)


@pytest.fixture(scope="module")
def unranked(pipeline) -> Pipeline:
    """The same model without CLIP; shares the loaded stages."""
    without = object.__new__(Pipeline)
    without.__dict__ |= pipeline.__dict__ | {"scorer": None}
    return without


@pytest.fixture(scope="module")
def five(pipeline):
    return pipeline.generate(PROMPT, n=5, seed=2**32 - 2)


def assert_same(one, other):
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.codes, other.codes)
    assert (one.seed, one.score) == (other.seed, other.score)


def test_images_are_finished(five):
    for drawn in five:
        assert drawn.image.shape == (32, 32, 3)
        assert drawn.image.dtype == np.uint8
        assert drawn.codes.shape == (64,)


def test_seeds_count_up_and_around(five):
    assert sorted(drawn.seed for drawn in five) == [0, 1, 2, 2**32 - 2, 2**32 - 1]
    assert len({drawn.codes.tobytes() for drawn in five}) == 5


def test_best_comes_first(five):
    scores = [drawn.score for drawn in five]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 5


def test_one_image_of_a_seed_is_the_one_among_many(pipeline, five):
    for drawn in five[:2]:
        (alone,) = pipeline.generate(PROMPT, seed=drawn.seed)
        assert_same(alone, drawn)


def test_best_of_returns_the_best_of_what_it_drew(pipeline, five):
    best = pipeline.generate(PROMPT, n=2, best_of=5, seed=2**32 - 2)
    assert len(best) == 2
    for drawn, expected in zip(best, five[:2], strict=True):
        assert_same(drawn, expected)


def test_without_clip_images_come_in_order_of_their_seeds(unranked, five):
    drawn = unranked.generate(PROMPT, n=3, seed=2**32 - 2)
    assert [(image.seed, image.score) for image in drawn] == [(2**32 - 2, None), (2**32 - 1, None), (0, None)]
    with_clip = {image.seed: image for image in five}
    for image in drawn:
        np.testing.assert_array_equal(image.image, with_clip[image.seed].image)
    with pytest.raises(InvalidValue, match="no scorer") as error:
        unranked.generate(PROMPT, n=1, best_of=2)
    assert error.value.param == "best_of"


def test_a_fresh_seed_is_drawn_and_returned(pipeline):
    first, second = (pipeline.generate(PROMPT)[0] for _ in range(2))
    assert first.seed != second.seed
    assert_same(pipeline.generate(PROMPT, seed=first.seed)[0], first)


@pytest.mark.parametrize(
    "settings",
    [
        {"negative_prompt": "the moon"},
        {"guidance_scale": 1.0},
        {"temperature": 0.1},
        {"top_k": 1},
        {"top_p": 0.01},
    ],
)
def test_every_setting_reaches_the_sampler(pipeline, settings):
    plain, changed = (pipeline.generate(PROMPT, seed=3, **given)[0] for given in ({}, settings))
    assert (plain.codes != changed.codes).any()


def test_a_negative_prompt_equal_to_the_prompt_leaves_no_guidance(pipeline):
    """Guidance leads away from the negative prompt by scale · 0."""
    (led,) = pipeline.generate(PROMPT, seed=3, negative_prompt=PROMPT)
    (free,) = pipeline.generate(PROMPT, seed=3, guidance_scale=1.0)
    np.testing.assert_array_equal(led.codes, free.codes)


def test_defaults_are_the_models(pipeline):
    (plain,) = pipeline.generate(PROMPT, seed=3)
    assert_same(plain, pipeline.generate(PROMPT, seed=3, **pipeline.bundle.sampling)[0])


def test_progress_counts_all_codes_up_to_the_end(pipeline):
    calls = []
    pipeline.generate(PROMPT, n=3, seed=0, on_progress=lambda drawn, total: calls.append((drawn, total)))
    assert {total for _, total in calls} == {3 * 64}
    drawn = [count for count, _ in calls]
    assert drawn == sorted(drawn)
    assert drawn[-1] == 3 * 64


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 65}, "n"),
        ({"n": 2, "best_of": 1}, "best_of"),
        ({"best_of": 129}, "best_of"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"guidance_scale": float("inf")}, "guidance_scale"),
    ],
)
def test_values_out_of_range_are_refused_by_name(pipeline, arguments, param):
    with pytest.raises(InvalidValue) as error:
        pipeline.generate(**{"prompt": PROMPT} | arguments)
    assert error.value.param == param
    assert ("leave it out for a random one" in str(error.value)) == (param == "seed")


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"n": True}, "n"),
        ({"seed": 1.5}, "seed"),
        ({"prompt": None}, "prompt"),
        ({"negative_prompt": 3}, "negative_prompt"),
    ],
)
def test_wrong_types_are_refused_by_name(pipeline, arguments, param):
    """As production runs it: the tests' own check of annotations is taken off."""
    with pytest.raises(InvalidValue) as error:
        inspect.unwrap(Pipeline.generate)(pipeline, **{"prompt": PROMPT} | arguments)
    assert error.value.param == param


def test_parts_that_do_not_fit_are_refused(fixtures):
    with pytest.raises(CheckpointMismatch, match=r"4 × 4 codes.*8 × 8"):
        Pipeline.from_parts(sampler=fixtures / "dalle-tiny-unscanned", codec=fixtures / "vqgan-tiny")


def test_an_unknown_model_is_named():
    with pytest.raises(ModelNotFound, match="no-such-model"):
        Pipeline.from_model("no-such-model")
