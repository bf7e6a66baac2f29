"""Training the CLIP: its batches, its augmentation, and that it learns to match."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.scorers.clip import CLIPConfig, PreprocessorConfig, TextConfig, VisionConfig
from model_core.tokenizer import Tokenizer
from model_core.training import clip
from model_core.training.clip import CLIPRecipe
from model_core.training.data import Item

TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
CONFIG = CLIPConfig(
    text_config=TextConfig(vocab_size=64, max_position_embeddings=8, **TOWER),
    vision_config=VisionConfig(image_size=16, patch_size=8, **TOWER),
    preprocessor=PreprocessorConfig(shortest_edge=16, crop_size=16),
    projection_dim=16,
)
STYLES, CONCEPTS = 3, 8
GREYS = np.linspace(0, 240, CONCEPTS, dtype=np.uint8)
ITEMS = [
    Item(image="", prompts=((f"{concept}", 1.0),), concept=f"{concept}", style=f"{style}")
    for style in range(STYLES)
    for concept in range(CONCEPTS)
]
PIXELS = np.broadcast_to(np.tile(GREYS, STYLES)[:, None, None, None], (len(ITEMS), 16, 16, 3)).copy()


class NumberTokenizer(Tokenizer):
    """The prompt "7" becomes (1, 17, 63, 0 …); 63, the largest id, is where the text is pooled. Has no files."""

    def __init__(self):
        pass

    def __call__(self, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.array([[1, 10 + int(prompt), 63, 0, 0, 0, 0, 0] for prompt in prompts], np.int32)
        return tokens, (tokens != 0).astype(np.int32)


def draw_batch(recipe: CLIPRecipe, seed: int = 0, reconstructed: np.ndarray = PIXELS) -> dict:
    rng = np.random.default_rng(seed)
    return clip.make_batch(ITEMS, PIXELS, reconstructed, NumberTokenizer(), CONFIG, recipe, rng)


@pytest.mark.parametrize("seed", range(10))
def test_a_batch_never_holds_a_concept_twice(seed: int):
    concepts = draw_batch(CLIPRecipe(batch_size=6), seed)["text_tokens"][:, 1].tolist()
    assert len(set(concepts)) == len(concepts) == 6


def test_a_batch_is_smaller_where_there_are_fewer_concepts():
    assert len(draw_batch(CLIPRecipe(batch_size=64))["text_tokens"]) == CONCEPTS


def test_all_pictures_of_a_concept_are_drawn_sooner_or_later():
    rng = np.random.default_rng(0)
    tagged = np.broadcast_to(np.arange(len(ITEMS), dtype=np.uint8)[:, None, None, None], PIXELS.shape).copy()
    recipe = CLIPRecipe(batch_size=4, max_shift=0.0, reconstructed_share=0.0)
    drawn = set()
    for _ in range(60):
        batch = clip.make_batch(ITEMS, tagged, tagged, NumberTokenizer(), CONFIG, recipe, rng)
        drawn |= set(np.unique(batch["pixels"]).tolist())
    assert len(drawn) == len(np.unique(clip.clip.preprocess(CONFIG, list(tagged))))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_reconstructed_pictures(share: float):
    black = np.zeros_like(PIXELS)
    recipe = CLIPRecipe(batch_size=CONCEPTS, max_shift=0.0, reconstructed_share=share)
    batch = draw_batch(recipe, reconstructed=black)
    shown = PIXELS if share == 0 else black
    want = clip.clip.preprocess(CONFIG, [shown[i] for i in batch["text_tokens"][:, 1] - 10])
    np.testing.assert_allclose(batch["pixels"], want, atol=1e-6)


def test_no_shift_leaves_a_picture_as_it_is():
    picture = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(clip.augment(picture, 0.0, np.random.default_rng(0)), picture)


@pytest.mark.parametrize("seed", range(20))
def test_a_shift_keeps_the_size_and_a_white_background_white(seed: int):
    white = np.full((32, 32, 3), 255, np.uint8)
    shifted = clip.augment(white, 0.2, np.random.default_rng(seed))
    assert shifted.dtype == np.uint8
    np.testing.assert_array_equal(shifted, white)


def test_what_a_shift_uncovers_is_white():
    """A black picture, shrunk or moved, is black in the middle and black or white, never another thing, at its rim."""
    black = np.zeros((32, 32, 3), np.uint8)
    shifted = [clip.augment(black, 0.2, np.random.default_rng(seed)) for seed in range(20)]
    assert all((image[12:20, 12:20] == 0).all() for image in shifted)
    assert set(np.unique(shifted)) == {0, 255}


def test_steps_on_one_batch_lower_the_loss_and_the_temperature_stays_bounded():
    recipe = CLIPRecipe(steps=60, batch_size=CONCEPTS, warm_up_steps=2, learning_rate=5e-3)
    batch = draw_batch(recipe)
    state = clip.initial_state(CONFIG, recipe)
    state["params"]["logit_scale"] = jnp.log(jnp.float32(100.0))  # where the paper holds it
    losses = []
    for i in range(25):
        state, metrics = clip.train_step(state, batch, jax.random.key(i), config=CONFIG, recipe=recipe)
        state["step"] = jnp.int32(i + 1)
        losses.append(float(metrics["loss"]))
        assert float(state["params"]["logit_scale"]) <= np.log(100) + 1e-6
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
