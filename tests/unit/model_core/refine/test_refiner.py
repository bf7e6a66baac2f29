"""The loop: seeds, states, sizes, and that the score rises. With networks of one matrix each."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_core import codecs, scorers
from model_core.errors import InvalidValue, NotFinite
from model_core.refine.refiner import Refiner
from model_core.refine.values import Refined, Refinement, State, grid_of
from tests.unit.model_core.refine.linear import CODEC, CODEC_CONFIG, PARAMS, SCORER, SCORER_CONFIG, SIDE

SIZE = (SIDE, SIDE)
TEXTS = (("one", 1.0),)


@pytest.fixture(scope="module")
def make() -> Iterator[Callable[..., Refiner]]:
    """Makes refiners of the linear networks, which no folder holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codecs, "require_vectors", lambda folder: None)
        patch.setattr(codecs, "load", lambda folder, dtype: (CODEC, CODEC_CONFIG, PARAMS["codec"]))
        patch.setattr(scorers, "load", lambda folder, dtype: (SCORER, SCORER_CONFIG, PARAMS["scorer"]))
        yield lambda **options: Refiner(Path(), Path(), **options)


@pytest.fixture(scope="module")
def refiner(make: Callable[..., Refiner]) -> Refiner:
    return make()


def asked(**options: Any) -> Refinement:
    return Refinement(**{"texts": TEXTS, "seed": 3, "size": SIZE, "steps": 4, "cutouts": 4} | options)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def from_noise(refiner: Refiner) -> list[Refined]:
    return list(refiner.refine(asked(), every=2))


def same(a: State, b: State) -> bool:
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(State))


def test_a_seed_fixes_the_start_and_the_way(refiner: Refiner, from_noise: list[Refined]):
    assert [refined.step for refined in from_noise] == [0, 2, 4]
    again = list(refiner.refine(asked(), every=1))
    assert same(again[-1].state, from_noise[-1].state) and (again[-1].image == from_noise[-1].image).all()
    (other, *_) = refiner.refine(asked(seed=4), every=9)
    assert not (other.image == from_noise[0].image).all()


def arrays_of(state: Any) -> Iterator[tuple[str, np.ndarray]]:
    for field in dataclasses.fields(state):
        if isinstance(value := getattr(state, field.name), np.ndarray):
            yield field.name, value


def test_gone_on_with_elsewhere_it_is_the_same_as_uninterrupted(refiner: Refiner, from_noise: list[Refined]):
    """From a copy of the state's arrays, as it travels: nothing else is remembered."""
    state = from_noise[1].state
    arrays = {
        name: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape) for name, array in arrays_of(state)
    }
    travelled = dataclasses.replace(state, **arrays)
    resumed = list(refiner.refine(asked(), state=travelled, every=9))
    assert [refined.step for refined in resumed] == [4]
    assert same(resumed[0].state, from_noise[-1].state)
    assert list(refiner.refine(asked(), state=from_noise[-1].state)) == []


def test_a_picture_begins_as_its_codes_paint_it(refiner: Refiner, from_noise: list[Refined]):
    """So that one that was refined, refined again, begins where it ended."""
    start = next(refiner.refine(asked(), from_noise[-1].image))
    np.testing.assert_array_equal(start.image, from_noise[-1].image)


def test_the_score_rises_and_beats_the_best_of_many_random_grids(refiner: Refiner):
    *_, last = refiner.refine(asked(steps=40), every=40)
    starts = [next(refiner.refine(asked(seed=seed))).score for seed in range(16)]
    assert last.score > max(starts)


def test_texts_of_negative_weight_are_led_away_from(refiner: Refiner):
    image = picture(2)
    start, away = refiner.refine(asked(texts=(("one", -1.0),), steps=15), image, every=15)
    assert away.score < start.score


def test_held_to_its_start_it_moves_less(refiner: Refiner):
    image = picture(3)

    def moved(init_weight: float) -> float:
        *_, last = refiner.refine(asked(init_weight=init_weight, steps=6), image, every=6)
        return float(np.abs(last.state.vectors - last.state.start).mean())

    assert moved(100.0) < 0.8 * moved(0.0)


def test_a_size_that_is_not_listed_is_refused(refiner: Refiner):
    with pytest.raises(InvalidValue, match="Pictures of 24x12 are not refined; sizes: 12x12"):
        next(refiner.refine(asked(size=(12, 24))))
    with pytest.raises(InvalidValue, match="The picture has"):
        next(refiner.refine(asked(), picture(0)[:8]))


def test_sides_are_multiples_of_a_code_s(make: Callable[..., Refiner]):
    assert make(sizes=[(12, 24), SIZE]).sizes == (SIZE, (12, 24))
    assert grid_of((12, 24), CODEC_CONFIG) == (6, 12)
    with pytest.raises(InvalidValue, match="11x12 cannot be refined: its width must be a multiple of 2"):
        make(sizes=[(12, 11)])


def test_numbers_that_are_not_finite_go_no_further(refiner: Refiner, from_noise: list[Refined]):
    state = dataclasses.replace(from_noise[0].state, vectors=np.full_like(from_noise[0].state.vectors, np.nan))
    with pytest.raises(NotFinite):
        next(refiner.refine(asked(), state=state))


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"texts": ()}, "prompts"),
        ({"texts": TEXTS * 9}, "prompts"),
        ({"texts": (("a", 0.0),)}, "prompts"),
        ({"steps": 0}, "steps"),
        ({"cutouts": 1000}, "cutouts"),
        ({"seed": 2**32}, "seed"),
        ({"init_weight": -1.0}, "init_weight"),
        ({"step_size": float("nan")}, "step_size"),
    ],
)
def test_what_is_out_of_range_is_named(options: dict[str, Any], param: str):
    with pytest.raises(InvalidValue) as raised:
        asked(**options)
    assert raised.value.param == param


def test_a_step_costs_as_much_as_its_cutouts_and_its_size():
    usual, twice = asked(steps=10, cutouts=16), asked(steps=20, cutouts=16)
    assert (usual.cost(SIZE), twice.cost(SIZE)) == (10, 20)
    assert usual.cost(SIZE) < asked(steps=10, cutouts=32).cost(SIZE) < 20
    assert usual.cost(SIZE) < asked(steps=10, cutouts=16, size=(64, 64)).cost(SIZE)
