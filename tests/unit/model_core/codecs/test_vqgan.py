"""The VQGAN: shapes, lookups, bands, and what it refuses. tests/parity compares its numbers with the references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core import codecs
from model_core.codecs import vqgan
from model_core.codecs.vqgan_network import Codebook, from_bands
from model_core.codecs.vqgan_published import as_flat, from_taming
from model_core.errors import InvalidValue, UnsupportedConfig
from model_core.families.conditions import Grid


@pytest.fixture(scope="module")
def loaded(fixtures):
    return codecs.load(fixtures / "vqgan-tiny")


def test_codes_and_pictures_have_the_shapes_that_the_configuration_says(loaded):
    codec, config, params = loaded
    assert codec is vqgan
    assert (config.grid, config.size) == (Grid(8, 8, 64), (32, 32))
    codes = codec.encode(config, params, np.zeros((2, 32, 32, 3), np.float32))
    assert (codes.shape, codes.dtype) == ((2, 64), np.int32)
    pixels = codec.decode(config, params, codes)
    assert (pixels.shape, pixels.dtype) == ((2, 32, 32, 3), np.float32)


def test_other_sizes_are_refused(loaded):
    codec, config, params = loaded
    with pytest.raises(InvalidValue, match=r"8 × 8 = 64 codes; got 16"):
        codec.decode(config, params, np.zeros((1, 16), np.int32))
    with pytest.raises(InvalidValue, match=r"\[B, 32, 32, 3\]"):
        codec.encode(config, params, np.zeros((1, 16, 16, 3), np.float32))


SIZES = {"resolution": 8, "n_embed": 4, "embed_dim": 4, "z_channels": 4, "ch": 32}
RAW = SIZES | {"num_res_blocks": 1} | {"ch_mult": [1], "attn_resolutions": []}


@pytest.mark.parametrize(("changes", "message"), [({"double_z": True}, "double_z=True"), ({"ch": 33}, "ch=33")])
def test_what_is_not_implemented_is_refused_by_name(changes, message):
    with pytest.raises(UnsupportedConfig, match=message):
        vqgan.VQGANConfig.from_dict(RAW | changes)


@pytest.mark.parametrize("name", RAW)
def test_a_size_that_is_missing_is_named(name):
    with pytest.raises(UnsupportedConfig, match=f"missing {name}"):
        vqgan.VQGANConfig.from_dict({key: value for key, value in RAW.items() if key != name})


@pytest.mark.parametrize("value", [0, -1, 1.5, 8.0, "8", True, None, [8], 2**31, 10**400, float("nan"), {}])
@pytest.mark.parametrize("name", [*SIZES, "norm_num_groups"])
def test_a_size_that_is_none_is_refused_with_what_is_allowed(name, value):
    with pytest.raises(UnsupportedConfig, match=f"{name} is .*must be an integer from 1 to 2147483647") as error:
        vqgan.VQGANConfig.from_dict(RAW | {name: value})
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ch_mult": []}, "ch_mult is .*a list of integers"),
        ({"ch_mult": 4}, "ch_mult is 4; it must be a list"),
        ({"ch_mult": "12"}, "ch_mult is '12'; it must be a list"),
        ({"ch_mult": [1, "2"]}, r"ch_mult\[1\] is '2'; it must be an integer"),
        ({"ch_mult": [1, 0]}, r"ch_mult\[1\] is 0"),
        ({"ch_mult": [1] * 5}, "resolution is 8; it must be a multiple of"),
        ({"attn_resolutions": None}, "attn_resolutions is None; it must be a list"),
        ({"attn_resolutions": [8.0]}, r"attn_resolutions\[0\] is 8\.0"),
        ({"resamp_with_conv": "false"}, "resamp_with_conv is 'false'; it must be true or false"),
        ({"resamp_with_conv": 1}, "resamp_with_conv is 1"),
        ({"signed_pixels": "yes"}, "signed_pixels is 'yes'; it must be true or false"),
        ({"wavelet": None}, "wavelet is None; it must be true or false"),
        ({"round_pixels": 0}, "round_pixels is 0; it must be true or false"),
        ({"lookup": "farthest"}, "lookup is 'farthest'; it must be one of nearest, nearest_direction, gumbel"),
        ({"num_res_blocks": -1}, "num_res_blocks is -1; it must be an integer from 0 to"),
        ({"num_res_blocks": 1.0}, r"num_res_blocks is 1\.0; it must be an integer from 0 to"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_what_is_allowed(changes, message):
    with pytest.raises(UnsupportedConfig, match=message):
        vqgan.VQGANConfig.from_dict(RAW | changes)


def small(**changes: object) -> vqgan.VQGANConfig:
    return vqgan.VQGANConfig.from_dict({**RAW, **changes})


def test_a_wavelet_s_inverse_undoes_the_wavelet():
    """The bands of a picture, by their definition; the low one is the sum of four pixels, halved."""
    picture = np.random.default_rng(0).random((2, 6, 4, 3)).astype(np.float32)
    a, b, c, d = (picture[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
    bands = [a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d]  # low, by rows, by columns, both
    low, *rest = (band / 2 for band in bands)
    of_colours = np.stack(rest, axis=-1).reshape(*low.shape[:3], 9)
    np.testing.assert_allclose(from_bands(jnp.concatenate([low, of_colours], axis=-1)), picture, atol=1e-6)


def test_a_wavelet_decoder_makes_pictures_of_twice_the_size():
    config = small(wavelet=True, resolution=8)
    assert (config.size, config.grid) == ((16, 16), Grid(8, 8, 4))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), vqgan.param_shapes(config))
    assert params["decoder"]["conv_out"]["kernel"].shape[-1] == 12
    assert vqgan.decode(config, params, np.zeros((1, 64), np.int32)).shape == (1, 16, 16, 3)
    assert vqgan.encode(config, params, np.zeros((1, 16, 16, 3), np.float32)).shape == (1, 64)
    with pytest.raises(InvalidValue, match=r"\[B, 16, 16, 3\]"):
        vqgan.encode(config, params, np.zeros((1, 8, 8, 3), np.float32))


@pytest.mark.parametrize(
    ("lookup", "expected"), [("nearest", [0, 1]), ("nearest_direction", [1, 1]), ("gumbel", [2, 2])]
)
def test_each_lookup_takes_its_own_code(lookup, expected):
    """Of (1, 0), (9, 1) and (0, 3): what is near, what looks the same way, and what the logits say."""
    book = Codebook(small(lookup=lookup, n_embed=3, embed_dim=2))
    params = {"embedding": {"embedding": jnp.array([[1.0, 0.0], [9.0, 1.0], [0.0, 3.0]])}}
    if lookup == "gumbel":
        params["proj"] = {"kernel": jnp.zeros((1, 1, 2, 3)), "bias": jnp.array([0.0, 1.0, 2.0])}
    z = jnp.array([[[[1.0, 0.1]], [[7.0, 1.0]]]])
    np.testing.assert_array_equal(np.ravel(book.apply({"params": params}, z)), expected)
    found = np.asarray(book.apply({"params": params}, jnp.array([[[1]]]), method="lookup"))
    length = np.sqrt(82) if lookup == "nearest_direction" else 1
    np.testing.assert_allclose(found.ravel(), np.array([9.0, 1.0]) / length, rtol=1e-6)


def test_signed_pixels_are_0_to_1_outside():
    config = small(resolution=8)
    signed = small(resolution=8, signed_pixels=True)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.1, jnp.float32), vqgan.param_shapes(config)
    )
    codes = rng.integers(0, 4, (1, 64), np.int32)
    plain = np.asarray(vqgan.decode(config, params, codes))
    np.testing.assert_allclose(vqgan.decode(signed, params, codes), plain / 2 + 0.5, atol=1e-6)
    pixels = rng.random((1, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(vqgan.encode(signed, params, pixels), vqgan.encode(config, params, 2 * pixels - 1))


TAMING = {
    "model": {
        "target": "taming.models.vqgan.VQModel",
        "params": {"embed_dim": 256, "n_embed": 1024, "ddconfig": {
            "double_z": False, "z_channels": 256, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
            "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2, "attn_resolutions": [16], "dropout": 0.0,
        }},
    }
}  # fmt: skip


def test_taming_s_yaml_is_read():
    config = vqgan.VQGANConfig.from_dict(from_taming(TAMING))
    assert (config.grid, config.size, config.lookup, config.signed_pixels) == (
        Grid(16, 16, 1024),
        (256, 256),
        "nearest",
        True,
    )
    gumbel = {"model": TAMING["model"] | {"target": "taming.models.vqgan.GumbelVQ"}}
    assert from_taming(gumbel)["lookup"] == "gumbel"
    assert vqgan.VQGANConfig.from_dict(from_taming(gumbel, wavelet=True)).size == (512, 512)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "model is None; it must be an object"),
        ({"model": {}}, "params is None; it must be an object"),
        ({"model": {"params": {}}}, "ddconfig is None; it must be an object"),
        ({"model": TAMING["model"] | {"target": "taming.models.cond_transformer.Net2Net"}}, "model.target is 'taming"),
        ({"model": TAMING["model"] | {"target": "x.GumbelVQ", "params": TAMING["model"]["params"] | {"embed_dim": 8}}},
         "embed_dim is 8; in a GumbelVQ it must be z_channels, 256"),
    ],
)  # fmt: skip
def test_a_yaml_that_is_not_taming_s_is_refused(raw, message):
    with pytest.raises(UnsupportedConfig, match=message):
        from_taming(raw)


JANUS = {"model_type": "janus", "vq_config": {}, "vision_config": {"image_size": 384}}
DEEPSEEK = {"model_type": "multi_modality", "gen_vision_config": {"params": {"image_token_size": 16384, "n_embed": 8}}}
LLAMAGEN = {"codebook_size": 16384, "codebook_embed_dim": 8, "encoder_ch_mult": [1, 1, 2, 2, 4], "z_channels": 256} | {
    "decoder_ch_mult": [1, 1, 2, 2, 4],
    "resolution": 384,
}


@pytest.mark.parametrize("raw", [JANUS, DEEPSEEK, LLAMAGEN], ids=["janus", "deepseek", "llamagen"])
def test_a_vq16_is_the_same_from_all_who_publish_it(raw):
    config = vqgan.VQGANConfig.from_dict(as_flat(raw))
    assert (config.grid, config.size, config.attn_resolutions) == (Grid(24, 24, 16384), (384, 384), (24,))
    assert (config.lookup, config.signed_pixels, config.round_pixels) == ("nearest_direction", True, raw is LLAMAGEN)
    assert (config.ch, config.ch_mult, config.num_res_blocks, config.z_channels) == (128, (1, 1, 2, 2, 4), 2, 256)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (JANUS | {"vq_config": None}, "vq_config is None; it must be an object"),
        (JANUS | {"vq_config": {"double_latent": True}}, "double_latent is True; only False is supported"),
        (JANUS | {"vq_config": {"channel_multiplier": 2}}, "channel_multiplier is 2; it must be a list"),
        (JANUS | {"vision_config": {"image_size": "384"}}, "side of a picture is '384'; it must be an integer"),
        (JANUS | {"vq_config": {"num_embeddings": None}}, "n_embed is None; it must be an integer"),
        (DEEPSEEK | {"gen_vision_config": {}}, "params is None; it must be an object"),
        (LLAMAGEN | {"codebook_l2_norm": False}, "codebook_l2_norm is False; only true is supported"),
        (LLAMAGEN | {"decoder_ch_mult": [1]}, r"decoder_ch_mult is \[1\]; only that of the encoder"),
        ({name: value for name, value in LLAMAGEN.items() if name != "resolution"}, "resolution is missing: 256 for"),
    ],
)
def test_what_no_vq16_has_is_refused_by_name(raw, message):
    with pytest.raises(UnsupportedConfig, match=message):
        vqgan.VQGANConfig.from_dict(as_flat(raw))
