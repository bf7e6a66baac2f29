"""What cannot be drawn is refused before any device sees it."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from model_core.errors import InvalidValue
from model_core.families.conditions import Condition
from model_core.sampler.sequence import Sampling, Sequence

SHAPE, NUM_CODES, LENGTH = (6, 16), 20, 9
CONDITION = Condition(np.zeros(SHAPE, np.float32), np.ones(6, np.int32))
UNCONDITION = Condition(np.ones(SHAPE, np.float32), np.ones(6, np.int32))
SEQUENCE = Sequence(
    condition=CONDITION, uncondition=UNCONDITION, seed=3, sampling=Sampling(guidance_scale=10.0, temperature=0.9)
)


def check(**changes: Any) -> Sequence:
    sequence = replace(SEQUENCE, **changes)
    sequence.check(SHAPE, NUM_CODES, LENGTH)
    return sequence


def fixed(*codes: int) -> np.ndarray:
    return np.array(codes + (-1,) * (LENGTH - len(codes)), np.int32)


def test_an_image_takes_a_second_row_for_guidance_alone():
    assert check().conditions == (CONDITION, UNCONDITION)
    assert check(sampling=Sampling()).conditions == (CONDITION,)
    assert check(sampling=Sampling(), uncondition=None).conditions == (CONDITION,)


@pytest.mark.parametrize(("scale", "is_guided"), [(0.0, True), (0.5, True), (1, False), (1.0, False), (3.0, True)])
def test_a_scale_of_one_is_no_guidance(scale, is_guided):
    assert Sampling(guidance_scale=scale).is_guided == is_guided


def test_nothing_is_fixed_unless_it_is_asked_for():
    sequence = check()
    np.testing.assert_array_equal(sequence.codes, [-1] * LENGTH)
    assert sequence.position == 0 and not sequence.near_ties.any()
    assert sequence.slot is None and not sequence.is_over


@pytest.mark.parametrize(("codes", "position"), [((), 0), ((4,), 1), ((0, 19, 3), 3), ((1,) * 9, 9)])
@pytest.mark.usefixtures("unchecked")
def test_so_many_codes_are_known_as_are_fixed_without_a_gap(codes, position):
    given = fixed(*codes).astype(np.int64)
    sequence = check(fixed_codes=given)
    assert sequence.position == position
    assert sequence.codes.dtype == np.int32
    np.testing.assert_array_equal(sequence.codes, given)
    if position < 8:
        given[-1] = 5
        assert check(fixed_codes=given).position == position


def test_a_sequence_that_is_checked_again_begins_again():
    sequence = check(fixed_codes=fixed(4))
    sequence.codes, sequence.position = np.zeros(LENGTH, np.int32), LENGTH
    sequence.check(SHAPE, NUM_CODES, LENGTH)
    np.testing.assert_array_equal(sequence.codes, fixed(4))
    assert sequence.position == 1


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.uint32(7), np.int64(2**32 - 1)])
@pytest.mark.usefixtures("unchecked")
def test_every_seed_in_range_is_taken(seed):
    assert check(seed=seed).seed == seed


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"fixed_codes": np.zeros(8, np.int32)}, "fixed_codes", "must be 9 integers"),
        ({"fixed_codes": np.zeros((1, 9), np.int32)}, "fixed_codes", "must be 9 integers"),
        ({"fixed_codes": np.zeros(9, np.float32)}, "fixed_codes", "type float32"),
        ({"fixed_codes": np.full(9, 20, np.int32)}, "fixed_codes", r"in 0…19"),
        ({"fixed_codes": np.full(9, -2, np.int32)}, "fixed_codes", r"in 0…19"),
        ({"fixed_codes": np.full(9, 2**40, np.int64)}, "fixed_codes", r"in 0…19"),
        ({"condition": Condition(np.zeros((5, 16), np.float32), np.ones(5, np.int32))}, "prompt", r"takes \(6, 16\)"),
        ({"condition": Condition(np.zeros(6, np.int32), np.ones(6, np.int32))}, "prompt", r"takes \(6, 16\)"),
        ({"uncondition": None}, "guidance_scale", "no text to lead away from"),
        (
            {"uncondition": Condition(np.zeros((5, 16), np.float32), np.ones(5, np.int32))},
            "negative_prompt",
            r"takes \(6, 16\)",
        ),
        ({"condition": Condition(np.full(SHAPE, np.inf, np.float32), np.ones(6, np.int32))}, "prompt", "finite"),
        (
            {"uncondition": Condition(np.full(SHAPE, np.nan, np.float32), np.ones(6, np.int32))},
            "negative_prompt",
            "fin",
        ),
        ({"seed": 2**32}, "seed", "4294967295"),
        ({"seed": -1}, "seed", "4294967295"),
        ({"seed": True}, "seed", "True"),
        ({"seed": 1.0}, "seed", "1.0"),
        ({"seed": None}, "seed", "None"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_drawn_is_refused_by_name(changes, param, message):
    with pytest.raises(InvalidValue, match=message) as raised:
        check(**changes)
    assert raised.value.param == param


def test_token_ids_are_conditions_too():
    ids = Condition(np.arange(6, dtype=np.int32), np.ones(6, np.int32))
    sequence = Sequence(condition=ids, seed=1)
    sequence.check((6,), NUM_CODES, LENGTH)
    assert sequence.conditions == (ids,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("temperature", [1.0, 2.0]),
        ("temperature", True),
        ("temperature", None),
        ("top_p", 0.0),
        ("top_p", 1.0001),
        ("top_p", 1 + 0j),
        ("top_k", -1),
        ("top_k", 2.0),
        ("top_k", [1, 2]),
        ("top_k", False),
        ("guided_codes", -1),
        ("guided_codes", 1.0),
        ("guidance_scale", float("inf")),
        ("guidance_scale", 1e39),
        ("guidance_scale", 10**400),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(InvalidValue, match=name) as raised:
        Sampling(**{name: value})
    assert raised.value.param == name
    assert isinstance(raised.value, ValueError)


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_numpy_are_settings():
    given = {"guidance_scale": np.float32(3), "temperature": np.float64(0.5), "top_k": np.int64(2), "top_p": 1}
    given |= {"guided_codes": np.int8(4)}
    assert Sampling(**given) == Sampling(guidance_scale=3.0, temperature=0.5, top_k=2, top_p=1.0, guided_codes=4)
    assert {field.name for field in fields(Sampling)} == set(given)


def test_the_default_is_to_change_nothing():
    assert Sampling() == Sampling(guidance_scale=1.0, temperature=1.0, top_k=0, top_p=1.0)
