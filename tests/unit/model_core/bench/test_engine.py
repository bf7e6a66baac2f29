"""The engine's bench counts what it draws, and scales a part of an image up to the whole."""

from dataclasses import replace

import numpy as np
import pytest

from model_core.bench import models
from model_core.bench.engine import bench_engine
from model_core.bench.models import default_guidance_scale
from model_core.bench.work import image_work
from model_core.errors import InvalidValue, ModelNotFound
from model_core.families.dalle_bart.family import step_numbers
from model_core.families.llama.sizes import BlockSizes


def test_times_stand_beside_the_limit_of_the_codes_that_were_drawn(round_machine, small_models):
    report = bench_engine("mini", [1, 2], deterministic=True, repeats=1, num_codes=4)
    assert [one.images for one in report.measurements] == [1, 2]
    for one in report.measurements:
        numbers = step_numbers(small_models)
        work = image_work(numbers, 4, 2 * one.images, np.arange(9, 13))  # four of sixteen, behind the middle
        assert one.limit_s == pytest.approx(4 * max(work.num_bytes, work.num_flops) / 1e9)
        assert one.codes_per_s == pytest.approx(one.images_per_s * small_models.image_length)
        assert 0 < one.first_row_s <= one.seconds


@pytest.mark.parametrize("model", ["janus-pro-1b", "llamagen-xl"])
def test_other_families_are_benched_alike(round_machine, monkeypatch, model):
    family, config = models.SIZES[model]["sampler"]
    blocks = BlockSizes(width=16, layers=1, heads=2, kv_heads=2, head_width=8, hidden=16, eps=1e-5)
    small = replace(config, blocks=blocks, codebook=15, side=4)
    monkeypatch.setitem(models.SIZES, model, {"sampler": (family, small)})
    (one,) = bench_engine(model, [1], deterministic=True, repeats=1, num_codes=4).measurements
    work = image_work(family.step_numbers(small), 4, 2, np.arange(9, 13))
    assert one.limit_s == pytest.approx(4 * max(work.num_bytes, work.num_flops) / 1e9)


def test_without_guidance_an_image_is_one_row(round_machine, small_models):
    report = bench_engine("mini", [2], deterministic=True, guidance_scale=1.0, repeats=1, num_codes=4)
    (one,) = report.measurements
    work = image_work(step_numbers(small_models), 4, 2, np.arange(9, 13))
    assert one.limit_s == pytest.approx(4 * max(work.num_bytes, work.num_flops) / 1e9)


def test_each_window_has_its_line_and_says_what_steps_drew(round_machine, small_models):
    report = bench_engine("mini", [1, 2], deterministic=True, repeats=1, num_codes=4, windows=[1, 3])
    assert [(one.images, one.window) for one in report.measurements] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    for one in report.measurements:
        assert one.codes_a_step == 1.0 if one.window == 1 else 1.0 <= one.codes_a_step <= 3.0


def test_random_weights_read_no_prompts(round_machine, small_models):
    with pytest.raises(InvalidValue, match="mini has random weights"):
        bench_engine("mini", [1], prompts=["avocado"])


@pytest.mark.parametrize(
    ("model", "scale"), [("mini", 10.0), ("janus-pro-7b", 5.0), ("llamagen-xl", 7.5), ("emoji", 1.0)]
)
def test_images_are_guided_as_the_model_is_by_default(model, scale):
    assert default_guidance_scale(model) == scale


def test_a_model_that_is_not_there_is_named(round_machine):
    with pytest.raises(ModelNotFound, match="no-such-model"):
        bench_engine("no-such-model", [1])
