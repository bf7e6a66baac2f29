"""A model cut over several devices draws what it draws on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from model_core.bench.models import MEGA
from model_core.errors import InvalidValue
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart.sharding import CUT_AXES
from model_core.weights import sharding

DEVICES = 8


def test_every_array_of_the_model_has_a_place():
    mesh = sharding.make_mesh(1)
    for path, leaf in jax.tree.leaves_with_path(dalle_bart.param_shapes(MEGA)):
        assert sharding.param_sharding(mesh, CUT_AXES, "/".join(key.key for key in path), leaf.shape)


def test_a_strange_array_is_refused_by_name():
    with pytest.raises(InvalidValue, match="model/adapter/weight"):
        sharding.param_sharding(sharding.make_mesh(1), CUT_AXES, "model/adapter/weight", (8, 8))


@pytest.mark.parametrize("count", [0, 1000])
def test_more_devices_than_there_are_are_refused(count):
    with pytest.raises(InvalidValue, match=f"num_devices is {count}"):
        sharding.make_mesh(count)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    """What tests/unit/model_core/eight_devices.py saw, in a process with eight virtual devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    script = Path(__file__).with_name("eight_devices.py")
    run = subprocess.run(
        [sys.executable, script, tmp_path_factory.mktemp("model")],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_sharded_logits_are_the_unsharded_ones(report):
    assert report["devices"] == DEVICES
    assert report["largest_difference"] < 1e-4 * report["largest_logit"]


def test_each_device_holds_its_share(report):
    assert report["share_of_cut_arrays"] == 1 / DEVICES
    assert report["share_of_cache"] == 1 / DEVICES


def test_loading_in_pieces_loads_what_was_saved(report):
    assert report["loaded_equals_saved"]


def test_a_second_step_does_not_compile_again(report):
    assert report["programs"] == 1


def test_an_engine_on_several_devices_draws_the_codes_of_one(report):
    assert report["sharded_codes"] == report["codes"]


def test_an_engine_on_several_devices_compiles_nothing_after_its_warm_up(report):
    assert report["compiles_after_warm_up"] == 0


def test_layers_that_are_cut_while_they_load_stay_on_their_devices(report):
    assert report["share_of_a_layer"] == 1 / DEVICES


def test_sharded_encoder_states_are_the_unsharded_ones(report):
    assert report["largest_difference_of_states"] < 1e-4


def test_stages_use_the_devices_that_they_are_told(report):
    assert report["devices_of_stages"] == [2, 2]
