"""Training the VQGAN: its loss, its codebook, and that it learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.codecs.vqgan import VQGANConfig
from model_core.training.codecs import codebook, step, train
from model_core.training.codecs.losses import edge_loss
from model_core.training.codecs.recipes import VQGANRecipe
from model_core.training.loop import LoopConfig

CONFIG = VQGANConfig(
    resolution=16,
    n_embed=8,
    embed_dim=4,
    z_channels=8,
    ch=8,
    ch_mult=(1, 1),
    num_res_blocks=1,
    attn_resolutions=(),
    norm_num_groups=4,
)
RECIPE = VQGANRecipe(steps=12, batch_size=1, crop=16, warm_up_steps=2)  # batches of one shape: few compilations
START = step.initial_state(CONFIG, RECIPE)


def initial_state() -> dict:
    """A fresh copy: steps take over the memory of the state they are given."""
    return jax.tree.map(jnp.array, START)


@pytest.fixture
def pixels() -> np.ndarray:
    """Eight pictures, each of two plain colours, uint8 [8, 16, 16, 3]."""
    colors = np.random.default_rng(0).integers(256, size=(8, 2, 3), dtype=np.uint8)
    return np.repeat(np.repeat(colors[:, :, None], 8, axis=1), 16, axis=2)


def vectors(state: dict) -> np.ndarray:
    return np.asarray(codebook.table(state["params"]))


def test_edge_loss_is_zero_for_equal_pictures_and_for_a_constant_difference():
    picture = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    assert float(edge_loss(picture, picture)) == 0
    assert float(edge_loss(picture + 0.25, picture)) == pytest.approx(0, abs=1e-6)


def test_edge_loss_counts_an_edge_at_all_three_sizes():
    """A vertical edge of height 1 in the middle of 16 columns: one of 15, of 7 and of 3 steps; no horizontal ones."""
    edge = jnp.zeros((1, 16, 16, 3)).at[:, :, 8:].set(1.0)
    assert float(edge_loss(edge, jnp.zeros_like(edge))) == pytest.approx(1 / 15 + 1 / 7 + 1 / 3)


def test_unused_codes_are_restarted_at_features_and_used_ones_move_towards_theirs():
    state = initial_state()
    recipe = VQGANRecipe(codebook_decay=0.5, restart_below=0.6)
    z = jnp.full((20, 4), 3.0)
    moved = codebook.moved(state, recipe, z, jnp.zeros(20, jnp.int32), jax.random.key(1))
    # Code 0 was chosen 20 times: uses 0.5 · 1 + 0.5 · 20, sum 0.5 · old + 0.5 · 60. The others fell to 0.5 uses: dead.
    want = (0.5 * vectors(state)[0] + 0.5 * 60) / 10.5
    np.testing.assert_allclose(vectors(moved)[0], want, rtol=1e-5)
    np.testing.assert_array_equal(vectors(moved)[1:], 3.0)
    assert moved["uses"].tolist() == [10.5] + [1.0] * 7


def test_rare_features_get_a_code_though_most_of_the_picture_is_empty():
    """Eight distinct features, one of them 4 000 times: the codes that start on its copies go to the others."""
    distinct = 10 * np.eye(8, 4, dtype=np.float32) - 10 * np.eye(8, 4, k=-4, dtype=np.float32)
    features = np.repeat(distinct, [4000, 50, 10, 5, 2, 1, 1, 1], axis=0)
    state = codebook.started(initial_state(), features, seed=0)
    distances = np.linalg.norm(distinct[:, None] - vectors(state)[None], axis=-1)
    np.testing.assert_array_equal(distances.min(axis=1), 0)
    assert state["uses"].tolist() == [1.0] * 8
    np.testing.assert_array_equal(state["sums"], vectors(state))


def test_a_codebook_cannot_start_from_fewer_features_than_codes():
    with pytest.raises(ValueError, match="a codebook of 8 cannot start from 7 features"):
        codebook.started(initial_state(), np.zeros((7, 4), np.float32), seed=0)


@pytest.mark.parametrize("quantise", [False, True])
def test_steps_on_one_batch_lower_the_loss(pixels: np.ndarray, quantise: bool):
    state = initial_state()
    batch = pixels[:1].astype(np.float32) / 255
    losses = []
    for i in range(8):
        state, metrics = step.train_step(
            state, batch, jax.random.key(i), config=CONFIG, recipe=RECIPE, quantise=quantise
        )
        state["step"] = jnp.int32(i + 1)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all()
    assert min(losses[-2:]) < losses[0]
    assert ("codes_used" in metrics) == quantise


def test_training_passes_through_all_its_phases_and_resumes(tmp_path, pixels: np.ndarray):
    whole = train.train_codec(pixels, tmp_path / "whole", CONFIG, RECIPE)
    for steps in (5, RECIPE.steps):
        resumed = train.train_codec(pixels, tmp_path / "parts", CONFIG, RECIPE, LoopConfig(steps=steps))
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    curves = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert curves[0] == curves[1]


def test_parameters_given_are_trained_further_with_their_codebook(tmp_path, pixels: np.ndarray, monkeypatch):
    monkeypatch.setattr(codebook, "started", lambda *_: pytest.fail("the codebook was replaced"))
    still = VQGANRecipe(steps=12, batch_size=1, crop=16, warm_up_steps=2, learning_rate=1e-9, codebook_decay=1.0)
    params = initial_state()["params"]
    before = jax.tree.map(np.array, params)
    trained = train.train_codec(pixels, tmp_path, CONFIG, still, LoopConfig(steps=2), params)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), trained, before)
