"""The stages: what comes out for an item depends on that item only, whatever shares its batch."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core import stages
from model_core.errors import InvalidValue, NotFinite
from model_core.families.conditions import Condition
from model_core.sampler.sequence import Sampling, Sequence
from model_core.stages import ImageDecoder, ImageScorer, TextEncoder, TokenSampler

PROMPTS = ["a red fox", "", "sunset over a lake", "the moon"]


@pytest.fixture(scope="module")
def text_encoder(fixtures) -> TextEncoder:
    return TextEncoder(fixtures / "dalle-tiny-unscanned", batch_size=2)


@pytest.fixture(scope="module")
def token_sampler(fixtures) -> TokenSampler:
    return TokenSampler(fixtures / "dalle-tiny-unscanned", batch_size=2, num_codes=40)


@pytest.fixture(scope="module", params=["one by one", "in pairs"])
def together(request) -> Iterator[None]:
    """As on CPUs, and as on accelerators."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in pairs":
            patch.setattr(stages, "computed_together", lambda batch_size: batch_size)
        yield


@pytest.fixture(scope="module")
def image_decoder(fixtures, together) -> ImageDecoder:
    return ImageDecoder(fixtures / "vqgan-tiny", batch_size=2)


@pytest.fixture(scope="module")
def clip_scorer(fixtures, together) -> ImageScorer:
    return ImageScorer(fixtures / "clip-tiny", batch_size=2)


@pytest.fixture(scope="module")
def sequences(text_encoder) -> list[Sequence]:
    """Five images of two prompts with settings of their own; the second one without guidance."""
    texts = text_encoder.encode([(prompt, "") for prompt in PROMPTS])
    settings = [
        {"guidance_scale": 10.0},
        {"guidance_scale": 1.0},
        {"temperature": 0.5},
        {"top_k": 3},
        {"top_p": 0.5, "guidance_scale": 3.0},
    ]
    return [
        Sequence(
            condition=texts[2 * (i % 2)].condition,
            uncondition=texts[1].uncondition,
            seed=i,
            sampling=Sampling(**{"guidance_scale": 10.0} | settings[i]),
        )
        for i in range(5)
    ]


def test_states_do_not_depend_on_other_prompts(text_encoder):
    together = text_encoder.encode([(prompt, None) for prompt in PROMPTS])
    for prompt, text in zip(PROMPTS, together, strict=True):
        (alone,) = text_encoder.encode([(prompt, None)])
        np.testing.assert_array_equal(alone.condition.values, text.condition.values)
        np.testing.assert_array_equal(alone.condition.mask, text.condition.mask)
        assert text.condition.values.dtype == np.float32
        assert text.uncondition is None


def test_the_empty_prompt_is_the_unconditional_text(text_encoder):
    """Bos and eos only, although the normaliser makes a space of an empty prompt."""
    assert [text.num_tokens for text in text_encoder.encode([("", None), (" ", None)])] == [2, 3]


def test_codes_do_not_depend_on_other_sequences(token_sampler, sequences):
    together = token_sampler.sample(sequences)
    assert together.shape == (5, 16)
    assert together.dtype == np.int32
    np.testing.assert_array_equal(token_sampler.sample(sequences[::-1])[::-1], together)
    for i in (0, 1, 4):
        np.testing.assert_array_equal(token_sampler.sample([sequences[i]])[0], together[i])


def test_codes_stay_below_num_codes(token_sampler, sequences):
    assert token_sampler.sample(sequences).max() < 40


def test_codes_are_reported_row_by_row(token_sampler, sequences):
    reported = {i: [] for i in range(len(sequences))}

    def on_codes(place, codes):
        reported[place].append(codes)

    codes = token_sampler.sample(sequences, on_codes)
    for i, rows in reported.items():
        assert [len(row) for row in rows] == [4, 8, 12, 16]
        for row in rows:
            np.testing.assert_array_equal(row, codes[i, : len(row)])


def test_what_on_codes_raises_ends_the_drawing(token_sampler, sequences):
    calls = []

    def on_codes(place, codes):
        calls.append(place)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        token_sampler.sample(sequences, on_codes)
    assert len(calls) == 1


def test_images_do_not_depend_on_other_codes(image_decoder):
    codes = np.random.default_rng(0).integers(0, 64, (3, 64), np.int32)
    together = image_decoder.decode(codes)
    assert together.shape == (3, 32, 32, 3)
    assert together.dtype == np.uint8
    for i in range(3):
        np.testing.assert_array_equal(image_decoder.decode(codes[i : i + 1])[0], together[i])


@pytest.mark.parametrize("code", [-1, 64])
def test_codes_outside_the_codebook_are_refused(image_decoder, code):
    with pytest.raises(InvalidValue, match=r"0…63"):
        image_decoder.decode(np.full((1, 64), code, np.int32))


def test_an_images_codes_do_not_depend_on_other_images(image_decoder):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    together = image_decoder.encode(images)
    assert together.shape == (3, 64)
    assert together.dtype == np.int32
    for i in range(3):
        np.testing.assert_array_equal(image_decoder.encode(images[i : i + 1])[0], together[i])


def test_an_image_of_another_size_is_refused(image_decoder):
    with pytest.raises(InvalidValue, match="40×32 pixels; this model takes 32×32"):
        image_decoder.encode(np.zeros((1, 32, 40, 3), np.uint8))


def test_scores_do_not_depend_on_other_images(clip_scorer):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    together = clip_scorer.score("a red fox", pictures)
    for i in range(3):
        np.testing.assert_array_equal(clip_scorer.score("a red fox", pictures[i : i + 1])[0], together[i])
    assert (clip_scorer.score("the moon", pictures) != together).all()


def test_a_picture_is_told_by_the_known_prompt_that_scores_best(fixtures):
    scorer = ImageScorer(fixtures / "clip-tiny", known_prompts=tuple(PROMPTS[2:] + PROMPTS[:1]))
    for picture in np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), np.uint8):
        best = max(PROMPTS[2:] + PROMPTS[:1], key=lambda prompt: scorer.score(prompt, picture[None])[0])
        assert scorer.tell(picture) == best
    assert ImageScorer(fixtures / "clip-tiny").tell(picture) == ""


def poisoned(tree: Any) -> Any:
    """The same arrays with one number that is not finite in each."""
    return jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].set(jnp.nan) if leaf.size else leaf, tree)


def overflowing(tree: Any) -> Any:
    """Finite weights, of which what they compute is not."""
    return jax.tree.map(lambda leaf: leaf * 1e30, tree)


HARMS = pytest.mark.parametrize("harm", [poisoned, overflowing])


@HARMS
def test_pixels_that_are_not_finite_are_no_picture(image_decoder, harm, monkeypatch):
    codes = np.random.default_rng(0).integers(0, 64, (2, 64), np.int32)
    with monkeypatch.context() as patch:
        patch.setattr(image_decoder, "params", harm(image_decoder.params))
        with pytest.raises(NotFinite, match="image decoder computed pixels"):
            image_decoder.decode(codes)
    assert image_decoder.decode(codes).shape == (2, 32, 32, 3)


@HARMS
def test_scores_that_are_not_finite_are_no_scores(clip_scorer, harm, monkeypatch):
    monkeypatch.setattr(clip_scorer, "_params", harm(clip_scorer._params))
    with pytest.raises(NotFinite, match="image scorer computed scores"):
        clip_scorer.score("a red fox", np.zeros((2, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("which", ["condition", "uncondition"])
def test_states_that_are_not_finite_are_no_condition(text_encoder, which, monkeypatch):
    (text,) = text_encoder.encode([("a red fox", "")])
    spoilt = replace(text, **{which: Condition(text.condition.values * np.float32(np.inf), text.condition.mask)})
    monkeypatch.setattr(text_encoder, "_text", SimpleNamespace(encode=lambda _: [spoilt]))
    with pytest.raises(NotFinite, match="text encoder computed states"):
        text_encoder.encode([("a red fox", "")])


@pytest.mark.parametrize("which", range(5))
@HARMS
def test_logits_that_are_not_finite_are_no_codes(token_sampler, sequences, harm, which, monkeypatch):
    """Whatever an image is drawn with; and what was broken is not remembered."""
    before = token_sampler.sample([replace(sequences[which])])
    with monkeypatch.context() as patch:
        patch.setattr(token_sampler.rows, "_weights", harm(token_sampler.rows._weights))
        patch.setattr(token_sampler.rows, "_texts", OrderedDict())
        with pytest.raises(NotFinite, match="token sampler computed logits"):
            token_sampler.sample([replace(sequences[which])])
    token_sampler.rows._turns.clear()
    np.testing.assert_array_equal(token_sampler.sample([replace(sequences[which])]), before)


def test_nothing_to_decode_is_an_error(image_decoder):
    with pytest.raises(InvalidValue, match="at least one"):
        image_decoder.decode(np.zeros((0, 64), np.int32))


def test_warm_up_compiles_everything(text_encoder, token_sampler, image_decoder, clip_scorer, sequences):
    """After it, no call compiles: JAX says so through its monitoring events."""
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    for stage in (text_encoder, token_sampler, image_decoder, clip_scorer):
        stage.warm_up()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        text_encoder.encode([(prompt, "") for prompt in PROMPTS[:3]])
        token_sampler.sample(sequences[:3])
        image_decoder.decode(np.zeros((3, 64), np.int32))
        clip_scorer.score("the moon", np.zeros((3, 32, 32, 3), np.uint8))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == []
