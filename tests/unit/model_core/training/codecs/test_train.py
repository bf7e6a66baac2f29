"""Codecs that draw their codes from logits: they learn, resume, and are read back as they were exported."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core import codecs
from model_core.codecs import discrete_vae
from model_core.pictures.images import to_pixels
from model_core.training.codecs.decoder import split, train_decoder
from model_core.training.codecs.perceptual import perceptual_of
from model_core.training.codecs.step import _train_step, initial_state, train_step
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

# Two recipes for all of this file: few compilations.
OFF = replace(RECIPES["discrete_vae"], steps=24, decoder_steps=40, decoder_learning_rate=0.01)
ADVERSARIAL = replace(OFF, adversarial_weight=0.1, adversarial_from=1)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(  # the fourth kind is run below
    "name", ["gumbel", "openai_dvae", pytest.param("vqgan", marks=pytest.mark.exhaustive)]
)
def test_a_step_of_every_kind_reports_what_it_does_and_keeps_its_shapes(name: str, fixtures: Path):
    """With everything switched on; traced, and not run."""
    recipe = replace(RECIPES[name], adversarial_weight=0.5, perceptual_weight=0.5)
    looks = perceptual_of(recipe, fixtures / "clip-tiny")
    options = {"config": CONFIGS[name], "recipe": recipe, "quantise": True, "listens": True}
    state = jax.eval_shape(lambda: initial_state(CONFIGS[name], recipe))
    batch = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    after, told = jax.eval_shape(partial(_train_step, **options), state, batch, jax.random.key(0), looks)
    assert jax.tree.map(lambda leaf: leaf.shape, after) == jax.tree.map(lambda leaf: leaf.shape, state)
    common = {"loss", "psnr", "perceptual", "adversary_loss", "adversary_weight", "codes_used"}
    assert told.keys() == (common if name == "vqgan" else common | {"kl", "temperature"})


def equal(some: dict, others: dict) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, some, others)))


def test_before_it_begins_a_step_is_that_of_a_run_without_one_and_then_it_weighs():
    config, batch, key = CONFIGS["discrete_vae"], jnp.asarray(pictures(2), jnp.float32) / 255, jax.random.key(3)
    runs = {"off": OFF, "on": ADVERSARIAL}
    states = {name: initial_state(config, recipe) for name, recipe in runs.items()}
    assert states["off"].keys() == {"step", "params", "optimizer"}
    judge = jax.tree.map(np.array, states["on"]["adversary"])
    told = {}
    for number in range(2):
        for name, recipe in runs.items():
            states[name], told[name] = train_step(states[name], batch, key, config=config, recipe=recipe)
            states[name]["step"] = jnp.int32(number + 1)
        assert equal(states["off"], {part: states["on"][part] for part in states["off"]}) == (number == 0)
        assert equal(judge, states["on"]["adversary"]) == (number == 0)
    assert told["on"].keys() - told["off"].keys() == {"adversary_loss", "adversary_weight"}
    assert float(told["on"]["loss"]) == pytest.approx(float(told["off"]["loss"]))  # that of the same parameters
    assert float(told["on"]["adversary_weight"]) > 0


@pytest.mark.parametrize(
    "name", ["discrete_vae", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("openai_dvae", "gumbel"))]
)
def test_a_codec_learns_resumes_and_is_read_back(name: str, tmp_path: Path):
    """The DiscreteVAE with an adversary, which is part of the state."""
    config, pixels = CONFIGS[name], pictures()
    recipe = ADVERSARIAL if name == "discrete_vae" else replace(RECIPES[name], steps=24)
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
    config, pixels = CONFIGS["discrete_vae"], pictures()
    before = jax.tree.map(np.array, initial_state(config, OFF)["params"])
    codes = np.asarray(discrete_vae.encode(config, before, to_pixels(pixels)))
    trained = train_decoder(before, codes, codes, pixels, tmp_path / "decoder", config, OFF)
    (decoder, fixed), (old_decoder, old_fixed) = (split(config, params) for params in (trained, before))
    assert fixed.keys() == {"encoder"}
    jax.tree.map(np.testing.assert_array_equal, fixed, old_fixed)
    assert not np.array_equal(decoder["codebook"]["embedding"], old_decoder["codebook"]["embedding"])
    curve = losses(tmp_path / "decoder")
    assert np.mean(curve[-6:]) < np.mean(curve[:6])


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
