"""Conditions: what is made of a prompt depends on nothing but that prompt, and every text is read once."""

from pathlib import Path

import numpy as np
import pytest

from model_core import families
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart.text import DalleBartText, open_text, open_tokenizer

DALLE = Path(__file__).parents[4] / "parity" / "fixtures" / "dalle-tiny-unscanned"
PAIRS = [("A red fox!", None), ("sunset", "Rain"), ("A red fox!", ""), ("the moon", "sunset")]


class CountingEncoder:
    """The state of every position is its token, whether it counts, and nothing else."""

    def __init__(self):
        self.shapes = []

    def __call__(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        self.shapes.append(tokens.shape)
        return np.stack([tokens, mask], axis=-1).astype(np.float16)


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def text(encoder) -> DalleBartText:
    return DalleBartText(open_tokenizer(DALLE), encoder, batch_size=2)


def test_a_prompt_and_no_text_are_a_pair(text):
    condition, uncondition = text("A red fox!")
    tokens, mask = text.tokenizer(["A red fox!"])
    np.testing.assert_array_equal(condition.values[:, 0], tokens[0])
    np.testing.assert_array_equal(condition.mask, mask[0])
    assert condition.values.dtype == np.float32
    np.testing.assert_array_equal(uncondition.values[:, 0], text.tokenizer.unconditional(1)[0][0])
    assert uncondition.mask.sum() == 2
    assert text("A red fox!", "")[1].key == uncondition.key
    assert text("A red fox!", "rain")[1].key == text("rain")[0].key != uncondition.key


def test_an_empty_prompt_is_no_text_but_a_space_is_a_prompt(text):
    assert text("")[0].key == text("")[1].key
    assert text(" ")[0].mask.sum() == 3


def test_pairs_come_back_in_order_with_their_words_and_numbers_of_tokens(text):
    encoded = text.encode(PAIRS)
    assert [one.words for one in encoded] == ["a red fox", "sunset", "a red fox", "the moon"]
    assert encoded[0].uncondition is None
    for one, (prompt, negative) in zip(encoded, PAIRS, strict=True):
        assert one.condition.key == text(prompt)[0].key
        assert one.uncondition is None or one.uncondition.key == text(negative)[0].key
        assert one.num_tokens == text.tokenizer([prompt])[1].sum()
        assert one.num_negative_tokens == (text.tokenizer([negative])[1].sum() if negative else 0)
    assert text.encode([]) == []


def test_every_text_is_normalised_and_encoded_once_in_batches_of_one_size(text, encoder):
    seen = []
    text.tokenizer.normalize = lambda prompt: seen.append(prompt) or prompt
    text.encode(PAIRS)
    assert seen == ["A red fox!", "sunset", "Rain", "the moon"]
    assert encoder.shapes == [(2, text.tokenizer.max_length)] * 3  # five texts: the empty one is not normalised


def test_conditions_are_the_encoder_s_states():
    _, config, params = families.load(DALLE)
    text = open_text(DALLE, batch_size=2)
    condition, uncondition = text("A red fox!", "Rain")
    states = dalle_bart.encode(config, params, *text.tokenizer(["A red fox!", "Rain"]))
    np.testing.assert_array_equal(np.stack([condition.values, uncondition.values]), states)


def test_the_words_are_those_that_are_read(text):
    room = text.tokenizer.max_length - 2
    long, longer = (" ".join(["a"] * (room + more)) for more in (3, 40))
    one, short = text.encode([(long, longer), ("a fox", None)])
    assert (one.words, one.num_tokens, one.num_unread) == (" ".join(["a"] * room), room + 2, 3)
    assert (one.num_negative_tokens, one.num_negative_unread) == (room + 2, 40)
    assert (short.words, short.num_unread, short.num_negative_unread) == ("a fox", 0, 0)
