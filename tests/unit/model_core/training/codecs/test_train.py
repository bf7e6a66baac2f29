"""Codecs that draw their codes from logits: they learn, resume, and are read back as they were exported."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from model_core import codecs
from model_core.codecs import discrete_vae
from model_core.pictures.images import to_pixels
from model_core.training.codecs.decoder import split, train_decoder
from model_core.training.codecs.perceptual import perceptual_of
from model_core.training.codecs.train import train_codec
from model_core.training.loop import LoopConfig
from model_core.weights import checkpoint
from tests.unit.model_core.training.codecs.tiny import CONFIGS, RECIPES, pictures

STORED = {  # as config.json has them
    "discrete_vae": {"model_type": "discrete_vae", "image_size": 16, "num_tokens": 8, "codebook_dim": 6,
                     "num_layers": 1, "hidden_dim": 8},
    "openai_dvae": {"model_type": "openai_dvae", "resolution": 16,
                    "encoder": {"n_hid": 4, "n_blk_per_group": 1, "vocab_size": 8},
                    "decoder": {"n_hid": 4, "n_init": 4, "n_blk_per_group": 1, "vocab_size": 8}},
}  # fmt: skip


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["discrete_vae", "openai_dvae", "gumbel"])
def test_a_codec_learns_resumes_and_is_read_back(name: str, tmp_path: Path):
    """The DiscreteVAE with an adversary, which is part of the state."""
    config, recipe, pixels = CONFIGS[name], replace(RECIPES[name], steps=24), pictures()
    if name == "discrete_vae":
        recipe = replace(recipe, adversarial_weight=0.1, adversarial_from=0)
    whole = train_codec(pixels, tmp_path / "whole", config, recipe)
    for steps in (5, recipe.steps):
        resumed = train_codec(pixels, tmp_path / "parts", config, recipe, LoopConfig(steps=steps))
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    curve = losses(tmp_path / "whole")
    assert curve == losses(tmp_path / "parts")
    assert np.isfinite(curve).all()
    assert np.mean(curve[-6:]) < np.mean(curve[:6])
    if name in STORED:
        (tmp_path / "config.json").write_text(json.dumps(STORED[name]))
        checkpoint.save_params(tmp_path / "flax_model.msgpack", whole)
        codec, read, params = codecs.load(tmp_path)
        assert read == config
        codes = codec.encode(config, whole, to_pixels(pixels))
        np.testing.assert_array_equal(codec.encode(read, params, to_pixels(pixels)), codes)


def test_a_decoder_learns_by_itself_and_codes_stay(tmp_path: Path):
    config, recipe, pixels = CONFIGS["discrete_vae"], replace(RECIPES["discrete_vae"], decoder_steps=12), pictures()
    start = train_codec(pixels, tmp_path / "codec", config, recipe, LoopConfig(steps=1))
    before = jax.tree.map(np.array, start)
    codes = np.asarray(discrete_vae.encode(config, before, to_pixels(pixels)))
    trained = train_decoder(before, codes, codes, pixels, tmp_path / "decoder", config, recipe)
    (decoder, fixed), (old_decoder, old_fixed) = (split(config, params) for params in (trained, before))
    assert fixed.keys() == {"encoder"}
    jax.tree.map(np.testing.assert_array_equal, fixed, old_fixed)
    assert not np.array_equal(decoder["codebook"]["embedding"], old_decoder["codebook"]["embedding"])
    curve = losses(tmp_path / "decoder")
    assert np.mean(curve[-3:]) < np.mean(curve[:3])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CONFIGS)
def test_every_kind_learns_with_an_adversary_and_a_scorer(name: str, fixtures: Path, tmp_path: Path):
    recipe = replace(RECIPES[name], steps=40, adversarial_weight=0.5, adversarial_from=10, perceptual_weight=0.5)
    looks = perceptual_of(recipe, fixtures / "clip-tiny")
    params = train_codec(pictures(), tmp_path, CONFIGS[name], recipe, perceptual=looks)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "adversary_loss" in line] == list(range(11, 41))
    assert np.mean([line["perceptual"] for line in lines[-6:]]) < np.mean([line["perceptual"] for line in lines[:6]])
