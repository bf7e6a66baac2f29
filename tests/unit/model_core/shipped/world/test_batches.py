"""Batches for VQGAN, DalleBart and CLIP."""

import numpy as np
import pytest

from model_core import bundles
from model_core.families.dalle_bart.text import open_tokenizer
from model_core.scorers.clip import open_text
from model_core.shipped.world import batches
from model_core.shipped.world.batches import (
    GROUP,
    clip_batch,
    crop_batch,
    cut_square,
    dalle_bart_batch,
    fresh_scenes,
    whole_batch,
)
from model_core.shipped.world.scenes import World
from model_core.tokenizer import Tokenizer
from model_core.training.clip import CLIPRecipe
from model_core.training.dalle_bart import DalleBartRecipe
from model_core.training.presets import SMOKE
from tests.unit.model_core.shipped.world.things_made_here import sprites

WORLD = World(sprites=sprites())


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return open_tokenizer(bundles.resolve("emoji").sampler)


@pytest.fixture(scope="module")
def clip_words() -> Tokenizer:
    folder = bundles.resolve("emoji").scorer
    assert folder
    return open_text(folder)


AMONG = np.arange(3, 50, 2)


def black(pixels: np.ndarray) -> np.ndarray:
    """Stands for a VQGAN that draws nothing."""
    return np.zeros_like(pixels)


def test_a_dalle_barts_batch_holds_canonical_codes_and_fresh_captions_some_of_them_dropped(words: Tokenizer):
    codes = np.zeros((50, 3, 16), np.uint16)
    codes[:, 1] = np.arange(50)[:, None]
    recipe = DalleBartRecipe(batch_size=40, prompt_dropout=0.5)
    among = {16: AMONG}
    one, other = (dalle_bart_batch(WORLD, codes, among, words, recipe, 6, np.random.default_rng(2)) for _ in range(2))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    assert set(one) == {"codes", "text_tokens", "text_mask"}
    assert one["codes"].shape == (40, 16)
    assert one["text_tokens"].shape == (40, 6)
    assert set(one["codes"][:, 0].tolist()) <= set(AMONG.tolist())
    assert 5 < len(one["text_mask"]) - len(np.unique(one["text_tokens"], axis=0)) < 35


def test_a_batch_has_scenes_of_one_size_as_often_as_there_are_such_scenes(words: Tokenizer):
    codes = np.zeros((50, 3, 16), np.uint16)
    codes[:, 1, 0] = np.arange(50)
    among = {4: np.arange(40), 16: np.arange(40, 50)}
    recipe, rng, wholes = DalleBartRecipe(batch_size=3), np.random.default_rng(0), 0
    for _ in range(100):
        batch = dalle_bart_batch(WORLD, codes, among, words, recipe, 6, rng)
        is_whole = "positions" not in batch
        assert is_whole or batch["positions"].shape == (3, 4)
        assert ((batch["codes"][:, 0] >= 40) == is_whole).all()
        wholes += is_whole
    assert 10 < wholes < 30


def test_a_clips_batch_comes_in_groups_and_some_pictures_are_reconstructed(clip_words: Tokenizer):
    recipe = CLIPRecipe(batch_size=2 * GROUP, reconstructed_share=1.0, max_shift=0.0)
    batch = clip_batch(WORLD, 0, black, clip_words, SMOKE.clip, recipe, np.random.default_rng(0))
    assert batch["pixels"].shape == (8, 16, 16, 3)
    assert len(np.unique(batch["text_tokens"], axis=0)) > GROUP
    assert len(np.unique(batch["pixels"])) == 3  # black in three normalised channels


def test_the_next_step_has_other_scenes(clip_words: Tokenizer):
    recipe = CLIPRecipe(batch_size=GROUP, reconstructed_share=0.0)
    made = [clip_batch(WORLD, step, black, clip_words, SMOKE.clip, recipe, np.random.default_rng(0)) for step in (0, 1)]
    assert (made[0]["pixels"] != made[1]["pixels"]).any()


def test_squares_depend_on_step_and_generator_alone():
    one, other = (crop_batch(WORLD, 3, 5, 64, np.random.default_rng(1)) for _ in range(2))
    assert one.shape == (5, 64, 64, 3)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, other)


def test_no_scene_comes_twice():
    first, second = fresh_scenes(WORLD, 0, 3), fresh_scenes(WORLD, 1, 3)
    whole = np.concatenate([whole_batch(WORLD, 0, 3), whole_batch(WORLD, 1, 3)])
    np.testing.assert_array_equal(whole, np.stack([scene.pixels for scene in first + second]).astype(np.float32) / 255)


def test_most_squares_show_a_thing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches, "ON_A_THING", 1.0)
    rng = np.random.default_rng(0)
    for scene in WORLD.scenes(0, 40):
        square = cut_square(scene, 64, rng)
        assert square.shape == (64, 64, 3)
        assert square.std() > 1


def test_a_square_as_large_as_the_scene_is_the_scene():
    scene = WORLD.scene(0)
    np.testing.assert_array_equal(cut_square(scene, 128, np.random.default_rng(0)), scene.pixels)
