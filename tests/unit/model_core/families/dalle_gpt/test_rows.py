"""The family offers what the rest takes, and is drawn by the rows that the service runs."""

import numpy as np
import pytest

from model_core.families.conditions import FREE, Condition
from model_core.families.dalle_gpt import family as dalle_gpt
from model_core.families.protocol import Config, Family
from model_core.sampler.generate import generate
from model_core.sampler.rows import Rows, draw_all
from model_core.sampler.sequence import Sampling, Sequence
from tests.unit.model_core.families.dalle_gpt.configs import KINDS, random_model

NOTHING = Condition(np.zeros(4, np.int32), np.zeros(4, np.int32))


def test_it_is_a_family():
    assert isinstance(dalle_gpt, Family)
    assert isinstance(random_model(KINDS["rotary"])[0], Config)


def prompt(seed: int) -> Condition:
    return Condition(np.random.default_rng(seed).integers(1, 20, 4, dtype=np.int32), np.ones(4, np.int32))


@pytest.mark.parametrize(
    ("kind", "deterministic"), [("rotary", True), pytest.param("rudalle_v2", False, marks=pytest.mark.exhaustive)]
)
def test_rows_draw_what_each_image_is_alone(kind, deterministic):
    """From nothing, behind a prefix, and around codes that are given; two under one text; nothing is compiled late."""
    config, params = random_model(KINDS[kind])
    fixed = np.full((4, 16), FREE, np.int32)
    fixed[1, :5], fixed[2, [3, 10]] = [1, 2, 3, 4, 5], [7, 9]
    scales = [3.0, 1.0, 2.0, 3.0] if config.guides else [1.0] * 4
    prompts, nothing = [prompt(1), prompt(2), prompt(1), prompt(3)], [NOTHING] * 4 if config.guides else None
    expected = generate(
        dalle_gpt, config, params, prompts, nothing, guidance_scale=scales, top_k=5, seeds=range(4), prefix=fixed
    )
    np.testing.assert_array_equal(expected[fixed != FREE], fixed[fixed != FREE])
    assert len({image.tobytes() for image in expected}) == 4
    rows = Rows(dalle_gpt, config, dalle_gpt.step_weights(params), max_rows=4, deterministic=deterministic)
    rows.warm_up()
    sequences = [
        Sequence(
            condition=prompts[i],
            uncondition=NOTHING,
            seed=i,
            sampling=Sampling(guidance_scale=scales[i], top_k=5),
            fixed_codes=fixed[i],
        )
        for i in range(4)
    ]
    for _ in draw_all(rows, sequences):
        pass
    np.testing.assert_array_equal([sequence.codes for sequence in sequences], expected)
    assert rows.compiles.count == 0
