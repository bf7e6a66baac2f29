"""Properties of Llama blocks that hold for any weights, and how they lie on several devices."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from model_core import families
from model_core.bench.models import SIZES
from model_core.families.llama import step as steps
from model_core.families.llama.blocks import Rotary, block_shapes, num_weights, rms_norm, rotate
from model_core.families.llama.sizes import BlockSizes
from model_core.weights import sharding

GPT = Path(__file__).parents[4] / "parity" / "fixtures" / "llamagen-tiny" / "gpt"
SIZES_OF_TWO = BlockSizes(width=16, layers=2, heads=4, kv_heads=2, head_width=6, hidden=24, eps=1e-5)
DEVICES = 8


def random_params(sizes: BlockSizes) -> dict:
    rng = np.random.default_rng(0)
    layers = {
        str(i): {name: 0.3 * rng.normal(size=shape) for name, shape in block_shapes(sizes).items()} for i in range(2)
    }
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), {"layers": layers, "norm": np.ones(sizes.width)})


def turned_by(position: jax.Array, width: int, is_interleaved: bool = False) -> Rotary:
    angles = position[..., None] * 100.0 ** (-jnp.arange(width // 2) / width)
    return Rotary(jnp.cos(angles), jnp.sin(angles), is_interleaved)


def outputs(sizes: BlockSizes, params: dict, x: jax.Array, start: int = 0) -> jax.Array:
    rotary = turned_by(start + jnp.arange(x.shape[1])[None], sizes.head_width)
    return jax.jit(lambda x: steps.read(sizes, params, x, rotary, jnp.ones(x.shape[:2], bool))[0][-1])(x)


@pytest.fixture
def x() -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 16)), jnp.float32)


def test_grouped_queries_are_heads_that_share_keys_and_values(x):
    params, sizes = random_params(SIZES_OF_TWO), replace(SIZES_OF_TWO, kv_heads=4)
    repeated = {}
    for number, layer in params["layers"].items():
        queries, rest = layer["qkv"][:, :2], layer["qkv"][:, 2:]  # of each group
        each = jnp.concatenate([queries.reshape(4, 1, 6, 16), jnp.repeat(rest, 2, axis=0)], axis=1)
        repeated[number] = layer | {"qkv": each}
    expected = outputs(sizes, params | {"layers": repeated}, x)
    np.testing.assert_allclose(outputs(SIZES_OF_TWO, params, x), expected, rtol=0, atol=1e-5)


def test_only_the_distance_of_positions_counts(x):
    params = random_params(SIZES_OF_TWO)
    here, there = (outputs(SIZES_OF_TWO, params, x, start) for start in (0, 17))
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-4)
    assert abs(here - outputs(SIZES_OF_TWO, params, x[:, ::-1])[:, ::-1]).max() > 0.1


def test_later_positions_change_nothing(x):
    params = random_params(SIZES_OF_TWO)
    whole, part = outputs(SIZES_OF_TWO, params, x), outputs(SIZES_OF_TWO, params, x[:, :3])
    np.testing.assert_allclose(whole[:, :3], part, rtol=0, atol=1e-5)


@pytest.mark.parametrize("is_interleaved", [True, False])
def test_rotating_keeps_lengths_and_pairs(is_interleaved):
    x = jnp.asarray(np.random.default_rng(2).normal(size=(1, 3, 2, 8)), jnp.float32)
    turned = rotate(x, turned_by(jnp.arange(3)[None], 8, is_interleaved))
    shape = (1, 3, 2, 4, 2) if is_interleaved else (1, 3, 2, 2, 4)
    lengths = [(each.reshape(shape) ** 2).sum(-1 if is_interleaved else -2) for each in (x, turned)]
    np.testing.assert_allclose(*lengths, rtol=1e-5)
    np.testing.assert_array_equal(turned[:, 0], x[:, 0])


def test_a_norm_is_taken_in_float32():
    x = jnp.full((1, 1, 4), 300.0, jnp.float16)  # whose square float16 cannot hold
    np.testing.assert_array_equal(rms_norm(x, jnp.ones(4, jnp.float16), 1e-6), np.ones((1, 1, 4)))


@pytest.mark.parametrize("model", ["janus-pro-1b", "llamagen-xl"])
def test_what_a_step_reads_is_what_the_parameters_hold(model):
    family, config = SIZES[model]["sampler"]
    numbers = family.step_numbers(config)
    sizes = config.blocks
    of_blocks = sum(np.prod(shape) for shape in block_shapes(sizes).values() if len(shape) > 1)
    assert num_weights(sizes) == of_blocks
    assert numbers.weights - sizes.layers * of_blocks < 0.05 * numbers.weights  # heads
    assert numbers.per_code == 2 * sizes.layers * sizes.width


@pytest.mark.parametrize("model", ["janus-pro-1b", "janus-pro-7b", "llamagen-xl"])
def test_every_array_has_a_place_on_several_devices(model):
    family, config = SIZES[model]["sampler"]
    mesh = sharding.make_mesh(1)
    for path, leaf in jax.tree.leaves_with_path(family.param_shapes(config)):
        assert sharding.param_sharding(mesh, family.CUT_AXES, "/".join(key.key for key in path), leaf.shape)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What eight_devices.py saw, in a process with eight virtual devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("eight_devices.py"), tmp_path_factory.mktemp("model")],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.exhaustive
def test_a_model_over_several_devices_draws_the_codes_of_one(report):
    assert report["devices"] == DEVICES
    assert report["sharded_codes"] == report["codes"]


@pytest.mark.exhaustive
def test_each_device_holds_its_share_and_keeps_it(report):
    assert report["shares"] == {"qkv": 1 / 8, "out": 1 / 8, "gate_up": 1 / 8, "down": 1 / 8}
    assert report["share_of_cache"] == 1 / 8


@pytest.mark.exhaustive
def test_nothing_is_compiled_after_the_warm_up_of_several_devices(report):
    assert report["compiles_after_warm_up"] == 0


def test_what_is_put_together_is_what_the_file_holds():
    """A file whose products are put together gives back what was in it."""
    _, config, params = families.load(GPT)
    weights = load_file(GPT / "model.safetensors")
    for i in range(config.blocks.layers):
        layer, prefix = params["layers"][str(i)], f"layers.{i}."
        gate_up = np.asarray(layer["gate_up"])
        for which, name in enumerate(("w1", "w3")):
            np.testing.assert_array_equal(
                gate_up[:, which].reshape(-1, 48), weights[f"{prefix}feed_forward.{name}.weight"]
            )
        qkv = np.asarray(layer["qkv"])  # as many groups as heads
        np.testing.assert_array_equal(qkv.swapaxes(0, 1).reshape(-1, 48), weights[f"{prefix}attention.wqkv.weight"])
