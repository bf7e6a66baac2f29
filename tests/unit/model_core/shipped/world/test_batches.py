"""Batches for DalleBart and CLIP."""

import numpy as np
import pytest

from model_core.families.dalle_bart.text import Tokenizer
from model_core.shipped.world.batches import GROUP, clip_batch, dalle_bart_batch
from model_core.shipped.world.scenes import World
from model_core.training.clip import CLIPRecipe
from model_core.training.dalle_bart import DalleBartRecipe
from model_core.training.presets import SMOKE
from model_core.weights import bundles
from tests.unit.model_core.shipped.world.things_made_here import sprites

WORLD = World(sprites=sprites())


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer.from_folder(bundles.resolve("emoji").dalle_bart)


@pytest.fixture(scope="module")
def clip_words() -> Tokenizer:
    folder = bundles.resolve("emoji").clip
    assert folder
    return Tokenizer.from_folder(folder)


def black(pixels: np.ndarray) -> np.ndarray:
    """Stands for a VQGAN that draws nothing."""
    return np.zeros_like(pixels)


def test_a_dalle_barts_batch_holds_canonical_codes_and_fresh_captions_some_of_them_dropped(words: Tokenizer):
    codes = np.zeros((50, 2, 16), np.uint16)
    codes[:, 1] = np.arange(50)[:, None]
    recipe = DalleBartRecipe(batch_size=40, prompt_dropout=0.5)
    one, other = (dalle_bart_batch(WORLD, codes, words, recipe, 6, np.random.default_rng(2)) for _ in range(2))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    assert one["codes"].shape == (40, 16)
    assert one["text_tokens"].shape == (40, 6)
    assert set(one["codes"][:, 0].tolist()) <= set(range(50))
    assert 5 < len(one["text_mask"]) - len(np.unique(one["text_tokens"], axis=0)) < 35


def test_a_clips_batch_comes_in_groups_and_some_pictures_are_reconstructed(clip_words: Tokenizer):
    recipe = CLIPRecipe(batch_size=2 * GROUP, reconstructed_share=1.0, max_shift=0.0)
    batch = clip_batch(WORLD, 0, black, clip_words, SMOKE.clip, recipe, np.random.default_rng(0))
    assert batch["pixels"].shape == (8, 16, 16, 3)
    assert len(np.unique(batch["text_tokens"], axis=0)) > GROUP
    assert len(np.unique(batch["pixels"])) == 3  # black in three normalised channels


def test_the_next_step_has_other_scenes(clip_words: Tokenizer):
    recipe = CLIPRecipe(batch_size=GROUP, reconstructed_share=0.0)
    batches = [
        clip_batch(WORLD, step, black, clip_words, SMOKE.clip, recipe, np.random.default_rng(0)) for step in (0, 1)
    ]
    assert (batches[0]["pixels"] != batches[1]["pixels"]).any()
