"""Settings of a recipe as they are typed."""

import pytest

from model_core.errors import InvalidValue
from model_core.training.dalle_bart import DalleBartRecipe
from model_core.training.settings import with_settings


def test_values_take_the_types_that_they_had():
    recipe = with_settings(DalleBartRecipe(), ["steps=7", "learning_rate=1e-4", "optimizer=adafactor", "remat=true"])
    assert recipe == DalleBartRecipe(steps=7, learning_rate=1e-4, optimizer="adafactor", remat=True)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stepz=7", "'stepz=7' is not a setting.*steps=10000"),
        ("steps", "name=value"),
        ("steps=many", "steps must be of the type int; got 'many'"),
        ("remat=yes", "remat must be true or false; got 'yes'"),
    ],
)
def test_what_is_not_a_setting_is_refused(setting: str, message: str):
    with pytest.raises(InvalidValue, match=message):
        with_settings(DalleBartRecipe(), [setting])
