"""Learning rates over a run, and batches that grow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import InvalidValue
from model_core.training.recipe import SequenceRecipe
from model_core.training.schedules import growth, learning_rate, rows_of, samples_after


def rates(*steps: int, **values) -> list[float]:
    recipe = SequenceRecipe(**({"steps": 100, "learning_rate": 1.0, "warm_up_steps": 10, "final_share": 0.01} | values))
    rate = learning_rate(recipe)
    return [float(rate(step)) for step in steps]


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [("linear", 0.505, 0.01), ("exponential", 0.1, 0.01), ("constant", 1, 1), ("plateau", 1, 1)],
)
def test_after_the_warm_up_the_rate_follows_its_schedule(schedule: str, middle: float, last: float):
    assert rates(0, 5, 10, 55, 100, schedule=schedule) == pytest.approx([0, 0.5, 1, middle, last], rel=1e-4)


def test_a_schedule_may_begin_anew_where_a_run_goes_on():
    later = rates(40, 45, 50, 75, 100, schedule="exponential", schedule_from=40)
    assert later == pytest.approx([0, 0.5, 1, 0.1, 0.01], rel=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedule": "cosine"}, "schedule is 'cosine'; there are linear, constant"),
        ({"final_share": 0.0}, "final_share must be above 0"),
        ({"schedule_from": 90}, r"warm_up_steps must be less than steps \(10\); got 10"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(values: dict, message: str):
    with pytest.raises(InvalidValue, match=message):
        rates(0, **values)


def test_a_batch_grows_at_the_listed_numbers_of_samples():
    recipe = SequenceRecipe(batch_size=4, batch_growth="10:2,30:5")
    assert [rows_of(recipe, step) for step in range(8)] == [4, 4, 4, 8, 8, 8, 20, 20]  # at 12 and at 36 samples
    assert [samples_after(recipe, steps) for steps in range(8)] == [0, 4, 8, 12, 20, 28, 36, 56]


@settings(deadline=None)
@given(
    batch=st.integers(1, 9),
    growing=st.lists(st.tuples(st.integers(1, 200), st.integers(1, 5)), max_size=3, unique_by=lambda pair: pair[0]),
    steps=st.integers(0, 60),
)
def test_the_samples_are_the_sum_of_the_rows_and_each_batch_is_what_its_samples_say(batch, growing, steps):
    pairs = sorted(growing)
    text = ",".join(f"{at}:{multiple}" for at, multiple in pairs)
    recipe = SequenceRecipe(batch_size=batch, batch_growth=text)
    rows = [rows_of(recipe, step) for step in range(steps)]
    assert samples_after(recipe, steps) == sum(rows)
    for step, count in enumerate(rows):
        multiple = next((multiple for at, multiple in reversed(pairs) if at <= sum(rows[:step])), 1)
        assert count == batch * multiple


@pytest.mark.parametrize("text", ["10", "10:0", "ten:2", "20:2,10:4", "10:2,10:3", "0:2", ",", "10:2:3"])
def test_growth_that_is_not_written_so_is_refused(text: str):
    with pytest.raises(InvalidValue, match="it must be like 1000000:2,8000000:4"):
        growth(SequenceRecipe(batch_growth=text))


def test_no_growth_is_no_growth():
    assert growth(SequenceRecipe()) == ()
    assert np.diff([samples_after(SequenceRecipe(batch_size=3), steps) for steps in range(4)]).tolist() == [3, 3, 3]
