"""Rows of a batch: which pictures, with which prompts, in which order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import InvalidValue
from model_core.training import sequences
from model_core.training.data import Item
from model_core.training.recipe import SequenceRecipe


def draw_rows(pictures_of: dict[str, int], seed: int, **recipe: int) -> list[tuple[int, str]]:
    """Rows of a batch, from so many pictures of each prompt."""
    items = [
        Item(image="", prompts=((name, 1.0),), concept=name)
        for name, count in pictures_of.items()
        for _ in range(count)
    ]
    pictures = sequences.pictures_of_prompts(items)
    return sequences.draw_rows(items, pictures, SequenceRecipe(**recipe), np.random.default_rng(seed))


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_all_pictures_of_a_prompt_are_in_a_batch_together_and_take_turns(seed: int):
    rows = draw_rows({"a": 3, "b": 3}, seed, pictures_per_prompt=3, batch_size=6)
    prompts = [prompt for _, prompt in rows]
    assert prompts[0::2] == prompts[0:1] * 3
    assert prompts[1::2] == prompts[1:2] * 3
    for turn in (rows[0::2], rows[1::2]):
        assert {place for place, _ in turn} == ({0, 1, 2} if turn[0][1] == "a" else {3, 4, 5})


def test_a_batch_is_full_where_a_prompt_has_fewer_pictures_and_where_it_has_more():
    rows = [draw_rows({"a": 1, "b": 5}, seed, pictures_per_prompt=2, batch_size=7) for seed in range(200)]
    assert {len(drawn) for drawn in rows} == {7}
    counts = np.bincount([place for drawn in rows for place, _ in drawn], minlength=6) / 1400
    assert counts[0] == pytest.approx(1 / 11, abs=0.03)  # drawn once in six, and then alone: 1 row of 1 + 5 · 2
    np.testing.assert_allclose(counts[1:], 2 / 11, atol=0.04)


def test_one_picture_of_a_prompt_by_default():
    rows = draw_rows({"a": 3}, 0, batch_size=600)
    np.testing.assert_allclose(np.bincount([place for place, _ in rows]) / 600, 1 / 3, atol=0.05)


def test_without_the_pictures_of_prompts_each_row_is_drawn_by_itself():
    items = [Item(image="", prompts=((name, 1.0),), concept=name) for name in ("a", "b")]
    rows = sequences.draw_rows(items, None, SequenceRecipe(), np.random.default_rng(0), count=400)
    assert {prompt for place, prompt in rows if place == 0} == {"a"}
    assert np.mean([place for place, _ in rows]) == pytest.approx(0.5, abs=0.1)


def test_less_than_one_picture_of_a_prompt_is_refused():
    with pytest.raises(InvalidValue, match="pictures_per_prompt must be at least 1; got 0"):
        sequences.check(SequenceRecipe(pictures_per_prompt=0))
