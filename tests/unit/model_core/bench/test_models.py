"""The random models have the sizes of the public ones."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import traverse_util

from model_core.bench.models import MEGA, MINI, default_guidance_scale, load_codec, load_scorer, random_params
from model_core.errors import InvalidValue
from model_core.families.dalle_bart import family as dalle_bart

TREE = Path(__file__).parents[3] / "parity" / "fixtures" / "trees" / "dalle_mini_scanned.txt"


def test_mini_is_the_public_tree():
    shapes = traverse_util.flatten_dict(dalle_bart.param_shapes(MINI), sep="/")
    lines = [line.split("\t") for line in TREE.read_text().splitlines() if not line.startswith("#")]
    public = {name: tuple(int(side) for side in shape.split("x")) for name, shape, _ in lines}
    assert {name: leaf.shape for name, leaf in shapes.items()} == public


def test_mega_has_its_2_6_billion_parameters():
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(dalle_bart.param_shapes(MEGA)))
    assert 2.55e9 < total < 2.62e9


def test_random_params_differ_from_array_to_array_and_have_the_dtype():
    shape = jax.ShapeDtypeStruct((50, 40), jnp.float32)
    params = random_params({"a": {"kernel": shape}, "b": {"kernel": shape}}, "bfloat16")
    a, b = params["a"]["kernel"], params["b"]["kernel"]
    assert a.dtype == jnp.bfloat16
    assert (a != b).mean() > 0.9
    assert a.astype(jnp.float32).std() == pytest.approx(0.02, rel=0.1)


def test_a_strange_dtype_is_refused():
    with pytest.raises(InvalidValue, match="float64"):
        random_params({"a": jax.ShapeDtypeStruct((1,), jnp.float32)}, "float64")


@pytest.mark.parametrize(("load", "role"), [(load_codec, "codec"), (load_scorer, "scorer")])
def test_a_part_that_a_size_does_not_have_is_refused(load, role):
    with pytest.raises(InvalidValue, match=f"malevich has no {role} to bench"):
        load("malevich", "float32")


def test_models_are_benched_with_the_guidance_that_their_references_draw_with():
    assert [default_guidance_scale(model) for model in ("mini", "malevich", "mindalle")] == [10.0, 1.0, 1.0]
