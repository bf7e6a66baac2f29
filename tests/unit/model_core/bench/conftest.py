"""A machine whose rates are given, and models small enough to be benched in a test."""

import pytest

from model_core.bench import machine, models
from model_core.codecs import vqgan
from model_core.families.dalle_bart import family as dalle_bart


@pytest.fixture
def round_machine(monkeypatch) -> machine.Machine:
    """Reads a billion bytes a second and computes as many FLOPs; takes the place of measuring."""
    here = machine.Machine(
        processor="a test",
        device="cpu",
        threads=2,
        jax_version="0",
        read_bytes_per_s=1e9,
        flops_per_s=1e9,
        product_side=2048,
    )
    monkeypatch.setattr(machine, "measure", lambda dtype: here)
    return here


@pytest.fixture
def small_models(monkeypatch) -> dalle_bart.DalleBartConfig:
    """What "mini" stands for in a test."""
    config = dalle_bart.DalleBartConfig(
        encoder_vocab_size=8,
        image_vocab_size=15,
        image_length=16,
        max_text_length=4,
        d_model=8,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=8,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=12,
        decoder_start_token_id=15,
        eos_token_id=16,
    )
    image = vqgan.VQGANConfig(
        resolution=8,
        n_embed=15,
        embed_dim=4,
        z_channels=4,
        ch=4,
        ch_mult=(1, 1),
        num_res_blocks=1,
        attn_resolutions=(),
        norm_num_groups=2,
    )
    parts = models.SIZES["mini"]._replace(sampler=(dalle_bart, config), codec=(vqgan, image))
    monkeypatch.setitem(models.SIZES, "mini", parts)
    return config


@pytest.fixture
def small_sampler(small_models) -> models.Sampler:
    """It, with weights."""
    return models.load_sampler("mini", "float32")
