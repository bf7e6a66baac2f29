"""Pictures as a CLIP sees them: what is equal, what is not, and whose eyes they are."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core import scorers
from model_core.errors import InvalidValue, ModelNotFound
from model_core.scorers import dalle_pytorch_clip
from model_core.training.codecs.perceptual import Perceptual, perceptual_of
from tests.unit.model_core.training.codecs.tiny import RECIPES

RECIPE = replace(RECIPES["vqgan"], perceptual_weight=0.5)


@pytest.fixture(scope="module")
def looks() -> Perceptual:
    found = perceptual_of(RECIPE, Path(__file__).parents[4] / "parity/fixtures/clip-tiny")
    assert found is not None
    return found


def test_equal_pictures_are_no_distance_apart_and_others_are_the_further_the_less_alike(looks: Perceptual):
    picture = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    noise = jax.random.normal(jax.random.key(1), picture.shape)

    @jax.jit
    def distance_and_slope(amount: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda amount: looks.distance(picture + amount * noise, picture))(amount)

    distances = [distance_and_slope(jnp.float32(amount)) for amount in (0.0, 0.05, 0.2)]
    assert float(distances[0][0]) == pytest.approx(0, abs=1e-6)
    assert 0 < float(distances[1][0]) < float(distances[2][0]) < 4
    assert np.isfinite([slope for _, slope in distances]).all()
    assert float(distances[1][1]) > 0


@pytest.mark.exhaustive
def test_the_layers_end_in_what_is_scored(looks: Perceptual):
    """The last one's class token, normalised and projected."""
    pixels = jax.random.uniform(jax.random.key(0), (2, *looks.config.size, 3))
    *_, last = layers = jax.jit(partial(looks.scorer.pixel_layers, looks.config))(looks.params, pixels)
    assert len(layers) == looks.config.vision_config.num_hidden_layers
    norm = looks.params["vision_model"]["post_layernorm"]
    token = last[:, 0]
    token = (token - token.mean(-1, keepdims=True)) / jnp.sqrt(token.var(-1, keepdims=True) + 1e-5)
    vector = (token * norm["scale"] + norm["bias"]) @ looks.params["visual_projection"]["kernel"]
    scored = looks.scorer.embed_pixels(looks.config, looks.params, pixels)
    np.testing.assert_allclose(vector / jnp.linalg.norm(vector, axis=-1, keepdims=True), scored, atol=1e-5)


def test_dalle_pytorchs_clip_has_layers_too(fixtures: Path):
    config = dalle_pytorch_clip.read_config(fixtures / "dp-plain-clip/clip")
    shapes = dalle_pytorch_clip.param_shapes(config)
    pixels = jax.ShapeDtypeStruct((1, *config.size, 3), jnp.float32)
    layers = jax.eval_shape(partial(dalle_pytorch_clip.pixel_layers, config), shapes, pixels)
    patches = (config.visual_image_size // config.visual_patch_size) ** 2
    assert [layer.shape for layer in layers] == [(1, patches, config.dim_image)] * config.visual_enc_depth


def test_nothing_looks_where_the_weight_is_nothing_and_a_named_scorer_before_the_runs_own(fixtures: Path):
    assert perceptual_of(RECIPES["vqgan"], fixtures / "clip-tiny") is None
    named = perceptual_of(replace(RECIPE, perceptual_scorer="emoji"), fixtures / "clip-tiny")
    assert named is not None
    assert named.config.size == (64, 64)
    assert named.scorer is scorers.of_folder(fixtures / "clip-tiny")
    with pytest.raises(InvalidValue, match=r"the run has none: train one first.*--set perceptual_scorer=emoji"):
        perceptual_of(RECIPE, None)
    with pytest.raises(InvalidValue, match=r"perceptual_weight must be 0 or more; got -1\.0"):
        perceptual_of(replace(RECIPE, perceptual_weight=-1.0), fixtures / "clip-tiny")
    with pytest.raises(ModelNotFound):
        perceptual_of(replace(RECIPE, perceptual_scorer="nowhere"), None)
