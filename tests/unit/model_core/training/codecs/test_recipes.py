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
        ({"temperature_schedule": "linear"}, "temperature_schedule is 'linear'; there are cosine, exponential"),
        ({"final_temperature": 0.0}, "temperatures must be above 0; got 1.0 and 0.0"),
    ],
)
def test_values_that_make_no_sense_are_named(values: dict[str, Any], message: str):
    with pytest.raises(InvalidValue, match=message):
        check(RelaxedRecipe(**values), side=64, code_side=8)


def test_the_defaults_make_sense():
    for recipe in (CodecRecipe(), RelaxedRecipe()):
        check(recipe, side=256, code_side=8)
