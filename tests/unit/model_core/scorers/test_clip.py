"""CLIP: what holds for any weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.errors import InvalidValue, UnsupportedConfig
from model_core.scorers import clip

TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
RAW = {
    "model_type": "clip",
    "projection_dim": 8,
    "text_config": TOWER | {"vocab_size": 12, "max_position_embeddings": 6, "eos_token_id": 2},
    "vision_config": TOWER | {"image_size": 8, "patch_size": 4},
}
TOKENS = np.array([[0, 5, 11, 2, 3, 3], [0, 2, 7, 11, 4, 11]], np.int32)
MASK = np.ones_like(TOKENS)


@pytest.fixture(scope="module")
def config() -> clip.CLIPConfig:
    return clip.CLIPConfig.from_dict(RAW)


@pytest.fixture(scope="module")
def params(config):
    return clip.init_params(config, jax.random.key(0))


@pytest.fixture(scope="module")
def preprocessed(config):
    rng = np.random.default_rng(0)
    return clip.preprocess(config, [rng.integers(0, 256, (9, 11, 3), np.uint8) for _ in range(2)])


def raw_with(section: str | None, **values):
    return RAW | ({section: RAW[section] | values} if section else values)


def test_vectors_have_unit_length(config, params, preprocessed):
    for vectors in (clip.embed_text(config, params, TOKENS, MASK), clip.embed_pixels(config, params, preprocessed)):
        np.testing.assert_allclose(jnp.linalg.norm(vectors, axis=-1), 1, rtol=1e-6)
        assert vectors.dtype == jnp.float32


def test_text_after_the_pooled_token_changes_nothing(config, params):
    """The first largest id is pooled (position 2 here), and text sees only what came before."""
    changed = TOKENS.copy()
    changed[0, 3:] = [9, 8, 7]
    vectors, others = (clip.embed_text(config, params, tokens, MASK) for tokens in (TOKENS, changed))
    np.testing.assert_allclose(vectors[0], others[0], atol=1e-6)
    changed[0, 1] = 6
    assert np.abs(vectors[0] - clip.embed_text(config, params, changed, MASK)[0]).max() > 1e-3


def test_masked_tokens_are_not_looked_at(config, params):
    mask = MASK.copy()
    mask[0, 1] = 0
    changed = TOKENS.copy()
    changed[0, 1] = 9
    vectors, others = (clip.embed_text(config, params, tokens, mask) for tokens in (TOKENS, changed))
    np.testing.assert_allclose(vectors, others, atol=1e-6)


def test_an_eos_of_its_own_is_pooled_at_its_first_place(params):
    """With eos_token_id 4, row 1 is read at position 4: what follows does not count, what precedes does."""
    config = clip.CLIPConfig.from_dict(raw_with("text_config", eos_token_id=4))
    changed = TOKENS.copy()
    changed[1, 5] = 9
    vectors, others = (clip.embed_text(config, params, tokens, MASK) for tokens in (TOKENS, changed))
    np.testing.assert_allclose(vectors[1], others[1], atol=1e-6)
    changed[1, 3] = 9
    assert np.abs(vectors[1] - clip.embed_text(config, params, changed, MASK)[1]).max() > 1e-3


def test_logits_are_scaled_cosines(config, params, preprocessed):
    text, pictures = clip.embed_text(config, params, TOKENS, MASK), clip.embed_pixels(config, params, preprocessed)
    logits = clip.logits_per_image(config, params, pictures, text)
    np.testing.assert_allclose(logits, np.asarray(pictures) @ np.asarray(text).T / 0.07, rtol=1e-4, atol=1e-5)


def test_every_parameter_has_a_gradient(config, params, preprocessed):
    def loss(params):
        text, pictures = clip.embed_text(config, params, TOKENS, MASK), clip.embed_pixels(config, params, preprocessed)
        return (clip.logits_per_image(config, params, pictures, text) * jnp.arange(4.0).reshape(2, 2)).sum()

    gradients = jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params))
    is_useless = {"k_proj"}  # the bias of keys moves all scores alike
    still = [path for path, leaf in gradients if not (np.isfinite(leaf).all() and np.abs(leaf).max() > 0)]
    assert [path for path in still if not any(name in str(path) for name in is_useless)] == []


def test_half_precision_is_near_float32(config, params, preprocessed):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), params)
    np.testing.assert_allclose(
        clip.embed_pixels(config, half, preprocessed), clip.embed_pixels(config, params, preprocessed), atol=3e-2
    )


def test_param_shapes_are_those_of_init(config, params):
    shapes = clip.param_shapes(config)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), shapes
    )


@pytest.mark.parametrize("shape", [(8, 8), (8, 20), (33, 9), (5, 5)])
def test_preprocess_takes_any_size(config, shape):
    mean, std = (np.asarray(values) for values in (config.preprocessor.image_mean, config.preprocessor.image_std))
    white = clip.preprocess(config, [np.full((*shape, 3), 255, np.uint8)])
    assert white.shape == (1, 8, 8, 3)
    np.testing.assert_allclose(white * std + mean, 1, atol=1e-6)


def test_preprocess_keeps_the_centre(config):
    image = np.zeros((8, 24, 3), np.uint8)
    image[:, 8:16] = 255
    assert (clip.preprocess(config, [image]) > 1).all()


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)]
)
def test_preprocess_refuses_other_arrays(config, image):
    with pytest.raises(InvalidValue, match="uint8"):
        clip.preprocess(config, [image])
    with pytest.raises(InvalidValue, match="at least one"):
        clip.preprocess(config, [])


def test_wrong_lengths_and_sizes_are_named(config, params):
    with pytest.raises(InvalidValue, match="at most 6"):
        clip.embed_text(config, params, np.zeros((1, 7), np.int32), np.ones((1, 7), np.int32))
    with pytest.raises(InvalidValue, match="8, 8, 3"):
        clip.embed_pixels(config, params, np.zeros((1, 9, 8, 3), np.float32))


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (raw_with("text_config", hidden_act="relu"), "hidden_act"),
        (raw_with("text_config", num_attention_heads=3), "num_attention_heads"),
        (raw_with("vision_config", patch_size=3), "patch_size"),
        (raw_with("vision_config", num_channels=1), "num_channels"),
        (raw_with(None, model_type="siglip"), "model_type"),
        (raw_with(None, vision_config=TOWER), "image_size"),
        ({key: value for key, value in RAW.items() if key != "projection_dim"}, "projection_dim"),
    ],
)
def test_unsupported_values_are_refused_by_name(raw, key):
    with pytest.raises(UnsupportedConfig, match=key):
        clip.CLIPConfig.from_dict(raw)


@pytest.mark.parametrize(
    "preprocessor",
    [{"size": 8, "crop_size": 8}, {"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}}],
)
def test_both_published_preprocessor_forms_are_read(preprocessor, config):
    assert clip.CLIPConfig.from_dict(RAW, preprocessor) == config


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"do_normalize": False}, "do_normalize"),
        ({"resample": 2}, "resample"),
        ({"size": {"height": 8, "width": 8}}, "size"),
        ({"size": 4}, "size"),
        ({"crop_size": {"height": 8, "width": 6}}, "crop_size"),
        ({"size": 16, "crop_size": 16}, "crop_size"),
    ],
)
def test_unsupported_preprocessors_are_refused_by_name(values, key):
    with pytest.raises(UnsupportedConfig, match=key):
        clip.CLIPConfig.from_dict(RAW, {"size": 8, "crop_size": 8} | values)


def test_config_is_a_static_argument(config):
    assert hash(config) == hash(dataclasses.replace(config))


NO_INTEGERS = [0, -1, 1.5, 8.0, "8", True, None, [8], 2**31, 10**400, float("nan")]
NO_NUMBERS = ["1", True, None, [1], float("nan"), float("inf"), 10**400]


@pytest.mark.parametrize(
    ("section", "name", "values"),
    [
        *(("text_config", name, NO_INTEGERS) for name in (*TOWER, "vocab_size", "max_position_embeddings")),
        *(("vision_config", name, NO_INTEGERS) for name in (*TOWER, "image_size", "patch_size")),
        (None, "projection_dim", NO_INTEGERS),
        ("text_config", "eos_token_id", NO_INTEGERS[1:]),
        ("text_config", "layer_norm_eps", [*NO_NUMBERS, 0, -1e-5]),
        (None, "logit_scale_init_value", NO_NUMBERS),
        ("text_config", "hidden_act", [None, 5, ["gelu"], {}]),
    ],
)
def test_a_value_that_is_none_is_refused_with_what_is_allowed(section, name, values):
    for value in values:
        with pytest.raises(UnsupportedConfig, match=f"{name} is .*(must be|supported)") as error:
            clip.CLIPConfig.from_dict(raw_with(section, **{name: value}))
        assert len(str(error.value)) < 250


@pytest.mark.parametrize("tower", [None, 5, "hidden_size", [TOWER], {}])
def test_a_tower_that_is_none_is_refused(tower):
    for section in ("text_config", "vision_config"):
        with pytest.raises(UnsupportedConfig, match=section):
            clip.CLIPConfig.from_dict(raw_with(None, **{section: tower}))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rescale_factor", [*NO_NUMBERS, 0, -1]),
        ("image_mean", [0.5, "0.5", [0.5] * 2, [0.5] * 4, [0.5, 0.5, "0.5"], [0.5, 0.5, None], [float("nan")] * 3]),
        ("image_std", [0.5, [0.5, 0.5, 0], [0.5, 0.5, -1], [0.5, 0.5, float("inf")], {"r": 1, "g": 1, "b": 1}]),
        ("size", [True, None, "8", 8.0, [8], {"shortest_edge": "8"}]),
        ("crop_size", [0, True, "8", 8.0, {"height": 8.0, "width": 8.0}, {"height": None, "width": None}]),
    ],
)
def test_a_preprocessors_value_that_is_none_is_refused(name, values):
    for value in values:
        with pytest.raises(UnsupportedConfig, match=name):
            clip.CLIPConfig.from_dict(RAW, {"size": 8, "crop_size": 8} | {name: value})
