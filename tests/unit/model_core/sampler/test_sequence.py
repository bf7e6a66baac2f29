"""Jobs that cannot be drawn are refused before any device sees them."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.sampler.sequence import SamplerJob, check_job

NUM_CODES = 20


@pytest.fixture
def job(tiny_dalle_bart) -> SamplerJob:
    config = tiny_dalle_bart.config
    states = np.zeros((config.max_text_length, config.d_model), np.float32)
    mask = np.ones(config.max_text_length, np.int32)
    return SamplerJob(states=states, mask=mask, uncond_states=states + 1, uncond_mask=mask, seed=3)


def check(tiny_dalle_bart, job: SamplerJob, **changes: Any):
    return check_job(dataclasses.replace(job, **changes), tiny_dalle_bart.config, NUM_CODES)


def test_a_job_has_a_text_for_each_row(tiny_dalle_bart, job):
    assert len(check(tiny_dalle_bart, job).texts) == 2
    assert len(check(tiny_dalle_bart, job, guidance_scale=1.0).texts) == 1
    assert len(check(tiny_dalle_bart, job, guidance_scale=1.0, uncond_states=None, uncond_mask=None).texts) == 1


def test_equal_texts_have_equal_keys(tiny_dalle_bart, job):
    prompt, uncond = check(tiny_dalle_bart, job).texts
    again, _ = check(tiny_dalle_bart, job, states=job.states.copy()).texts
    shorter, _ = check(tiny_dalle_bart, job, mask=np.array([1, 1, 0, 0, 0, 0], np.int32)).texts
    assert prompt.key == again.key
    assert len({prompt.key, uncond.key, shorter.key}) == 3


@pytest.mark.parametrize(("fixed", "length"), [([], 0), ([4], 1), ([0, 19, 3], 3), ([1] * 9, 9)])
def test_the_prefix_is_what_is_fixed_without_a_gap(tiny_dalle_bart, job, fixed, length):
    codes = np.array(fixed + [-1] * (9 - len(fixed)), np.int32)
    assert check(tiny_dalle_bart, job, fixed_codes=codes).prefix_length == length
    if 0 < length < 8:
        codes[-1] = 5
        assert check(tiny_dalle_bart, job, fixed_codes=codes).prefix_length == length


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"fixed_codes": np.zeros(8, np.int32)}, "fixed_codes", "must be 9 integers"),
        ({"fixed_codes": np.full(9, 20, np.int32)}, "fixed_codes", r"in 0…19"),
        ({"fixed_codes": np.full(9, -2, np.int32)}, "fixed_codes", r"in 0…19"),
        ({"states": np.zeros((5, 16), np.float32)}, "prompt", r"this model takes \(6, 16\)"),
        ({"uncond_states": None}, "guidance_scale", "unconditional text"),
        ({"uncond_mask": np.ones(5, np.int32)}, "negative_prompt", r"this model takes \(6, 16\)"),
        ({"states": np.full((6, 16), np.inf, np.float32)}, "prompt", "finite"),
        ({"seed": 2**32}, "seeds", "4294967295"),
        ({"top_p": 0.0}, "top_p", "above 0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_drawn_is_refused(tiny_dalle_bart, job, changes, param, message):
    with pytest.raises(InvalidValue, match=message) as raised:
        check(tiny_dalle_bart, job, **changes)
    assert raised.value.param == param
