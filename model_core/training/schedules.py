"""What changes over a run of what draws codes: the learning rate, and the size of the batch.

The learning rate rises linearly and then follows one of `SCHEDULES`. The batch grows by multiples of its first size, in
as many more pieces one after another, so that the memory stays the same: as DALL·E mega was trained.
"""

import optax

from model_core.errors import InvalidValue
from model_core.training.recipe import SequenceRecipe

SCHEDULES = ("linear", "constant", "exponential", "plateau")


def learning_rate(recipe: SequenceRecipe) -> optax.Schedule:
    """The rate at each step; with "plateau" what it is before the losses lower it.

    Raises:
      InvalidValue: there is no such schedule, or its warm-up does not end before the training.
    """
    if recipe.schedule not in SCHEDULES:
        raise InvalidValue(f"schedule is {recipe.schedule!r}; there are {', '.join(SCHEDULES)}.", "schedule")
    if not 0 < recipe.final_share <= 1:
        raise InvalidValue(f"final_share must be above 0 and at most 1; got {recipe.final_share}.", "final_share")
    check_warm_up(recipe)
    peak, rest = recipe.learning_rate, recipe.steps - recipe.schedule_from - recipe.warm_up_steps
    after = {
        "linear": lambda: optax.linear_schedule(peak, peak * recipe.final_share, rest),
        "exponential": lambda: optax.exponential_decay(peak, rest, recipe.final_share),
        "constant": lambda: optax.constant_schedule(peak),
        "plateau": lambda: optax.constant_schedule(peak),
    }[recipe.schedule]()
    rate = optax.join_schedules([optax.linear_schedule(0.0, peak, recipe.warm_up_steps), after], [recipe.warm_up_steps])
    return (lambda step: rate(step - recipe.schedule_from)) if recipe.schedule_from else rate


def check_warm_up(recipe: object) -> None:
    """Checks what every recipe's schedule of learning rates needs.

    Raises:
      InvalidValue: the warm-up is not shorter than the training.
    """
    steps, warm_up = getattr(recipe, "steps"), getattr(recipe, "warm_up_steps")  # noqa: B009  (of any recipe)
    steps -= getattr(recipe, "schedule_from", 0)
    if warm_up >= steps:
        raise InvalidValue(f"warm_up_steps must be less than steps ({steps}); got {warm_up}.", "warm_up_steps")


def growth(recipe: SequenceRecipe) -> tuple[tuple[int, int], ...]:
    """(samples, multiple) pairs: from so many samples on, a batch has so many times `batch_size` rows.

    Raises:
      InvalidValue: `batch_growth` is not written as "SAMPLES:MULTIPLE,…" with rising numbers of samples.
    """
    try:
        pairs = tuple((int(at), int(multiple)) for at, multiple in map(_parts, recipe.batch_growth.split(",")))
    except ValueError:
        pairs = ()
    pairs = pairs if recipe.batch_growth else ()
    rises = all(first[0] < second[0] for first, second in zip(((0, 1), *pairs), pairs, strict=False))
    if (recipe.batch_growth and not pairs) or not rises or any(multiple < 1 for _, multiple in pairs):
        raise InvalidValue(
            f"batch_growth is {recipe.batch_growth!r}; it must be like 1000000:2,8000000:4: from 1000000 samples on "
            "twice the batch, from 8000000 on four times.",
            "batch_growth",
        )
    return pairs


def _parts(pair: str) -> tuple[str, str]:
    at, multiple = pair.split(":")
    return at, multiple


def rows_of(recipe: SequenceRecipe, step: int) -> int:
    """How many rows batch number `step` has."""
    return samples_after(recipe, step + 1) - samples_after(recipe, step)


def samples_after(recipe: SequenceRecipe, steps: int) -> int:
    """How many samples so many steps have seen."""
    samples, multiple = 0, 1
    for at, next_multiple in growth(recipe):
        needed = max(0, -(-(at - samples) // (multiple * recipe.batch_size)))
        if steps <= needed:
            break
        steps, samples, multiple = steps - needed, samples + needed * multiple * recipe.batch_size, next_multiple
    return samples + steps * multiple * recipe.batch_size
