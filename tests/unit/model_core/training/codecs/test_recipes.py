"""Recipes of codecs: which values are refused, and what is said of them."""

from typing import Any

import pytest

from model_core.errors import InvalidValue
from model_core.training.codecs.recipes import CodecRecipe, RelaxedRecipe, check


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop": 128}, "crop is 128; it must be a multiple of 8 pixels, which a code has, and at most 64"),
        ({"crop": 12}, "crop is 12"),
        ({"perceptual_weight": -1.0}, "perceptual_weight must be 0 or more; got -1.0"),
        ({"adversarial_weight": -0.5}, "adversarial_weight must be 0 or more"),
        ({"adversarial_weight": 0.8, "adversary_layers": 5}, r"adversary_layers is 5.*crop \(64\) at least .*96"),
        ({"adversarial_weight": 0.8, "adversary_layers": 0}, "adversary_layers is 0: it must be at least 1"),
        ({"temperature_schedule": "linear"}, "temperature_schedule is 'linear'; there are cosine, exponential"),
        ({"final_temperature": 0.0}, "temperatures must be above 0; got 1.0 and 0.0"),
    ],
)
def test_values_that_make_no_sense_are_named(values: dict[str, Any], message: str):
    with pytest.raises(InvalidValue, match=message):
        check(RelaxedRecipe(**values), side=64, code_side=8)


def test_the_defaults_make_sense():
    for recipe in (CodecRecipe(), RelaxedRecipe(adversarial_weight=0.8, perceptual_weight=1.0)):
        check(recipe, side=256, code_side=8)
