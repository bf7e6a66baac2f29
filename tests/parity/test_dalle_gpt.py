"""The decoder-only family and its sampling against DALLE-pytorch, rudalle and minDALL-E."""

import re
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file

from model_core import families
from model_core.bench.models import MALEVICH, MINDALLE
from model_core.families.dalle_gpt import attention, rotary
from model_core.families.dalle_gpt import config as configs
from model_core.families.dalle_gpt import family as dalle_gpt
from model_core.weights.weight_files import Part, StoredArray, check_index
from tests.parity.comparisons import load_goldens
from tests.parity.dalle_gpt import NAMES, compare_dalle_gpt

step = partial(jax.jit, static_argnums=(0, 5))(dalle_gpt.step)


@pytest.mark.parametrize("name", NAMES)
def test_text_states_logits_and_all_codes_are_the_reference(name):
    assert [comparison for comparison in compare_dalle_gpt(name) if not comparison.passes] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [1, 5])
def test_cached_logits_are_the_reference(name, length, fixtures):
    """A few codes at a time."""
    goldens = load_goldens(name)
    _, config, params = families.load(fixtures / name)
    recorded = goldens["logits_image"][:2]
    ids, codes = (goldens[key][:2] for key in ("input_ids", "image_codes"))
    weights = dalle_gpt.step_weights(params)
    text = jax.jit(dalle_gpt.read_text, static_argnums=0)(config, weights, ids, np.ones_like(ids))
    state, count = dalle_gpt.prefill(config, weights, text, codes[:, :0]), config.grid.num_codes
    fed = np.pad(codes, ((0, 0), (1, length)))
    for start in range(0, count, length):
        given = jnp.asarray(fed[:, start : start + length])
        scored, state = step(config, weights, state, given, jnp.full(2, start), count)
        expected = recorded[:, start : start + length]
        np.testing.assert_allclose(scored[:, : expected.shape[1]], expected, rtol=0, atol=1e-4)


def test_masks_are_those_of_the_file(fixtures):
    goldens = load_goldens("rudalle")
    text, side = goldens["input_ids"].shape[1], 8
    for key, kind in (("row", "row"), ("col", "axial_col"), ("conv", "conv")):
        mask = attention.Sight(attention.looked_at(kind, side), None).mask()
        np.testing.assert_array_equal(mask, goldens[f"{key}_mask"][text:, text:])
        assert goldens[f"{key}_mask"][text:, :text].all()  # codes look at all of the text


def test_angles_are_those_of_the_file(fixtures):
    recorded = load_file(fixtures / "dp-rotary" / "model.safetensors")["transformer.pos_emb"][0]
    computed = rotary.angles(text=25, side=8, head_size=16)
    np.testing.assert_array_equal(np.repeat(computed, 2, axis=1), recorded)


BLOG = {
    "model_type": "dalle_gpt",
    "layout": "dalle_pytorch",
    "hparams": {"num_text_tokens": 49408, "text_seq_len": 128, "dim": 512, "depth": 16, "heads": 8, "dim_head": 64},
    "vae_class_name": "VQGanVAE",
    "vae_config": {"model": {"params": {"n_embed": 1024, "ddconfig": {"resolution": 256, "attn_resolutions": [16]}}}},
}


@pytest.mark.parametrize(
    ("config", "tree"),
    [
        (MALEVICH, "rudalle_malevich_v3"),
        (MINDALLE, "mindalle_stage2_1.3B"),
        (configs.from_dict(BLOG), "dalle_pytorch_16L_64HD_8H_512I_128T_taming1024"),
    ],
)
def test_full_size_models_have_the_arrays_of_the_public_files(config, tree, fixtures):
    path = fixtures / "trees" / f"{tree}.txt"
    shapes = {
        name: leaf.shape for name, leaf in traverse_util.flatten_dict(dalle_gpt.param_shapes(config), sep="/").items()
    }
    listed = re.findall(r"^(\S+) \(([\d, ]*)\) \w+$", path.read_text(), re.MULTILINE)
    index = {}
    for name, sides in listed:
        shape = tuple(int(side) for side in re.findall(r"\d+", sides))
        index[name] = StoredArray(shape, (Part(0, prod(shape), "float32"),))
    check_index(path, dalle_gpt.layout(path, index, shapes), shapes)
    counted = int(re.search(r"tensors, (\d+) floating", path.read_text())[1])
    assert sum(map(prod, shapes.values())) == counted
