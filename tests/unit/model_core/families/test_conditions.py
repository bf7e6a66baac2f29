"""The values that travel between stages."""

import copy

import numpy as np
import pytest

from model_core.families import conditions
from model_core.families.conditions import Condition, Grid


def condition(**changes) -> Condition:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    return Condition(**{"values": values, "mask": np.array([1, 1, 1, 0], np.int32)} | changes)


def test_equal_conditions_have_equal_keys_wherever_they_lie():
    first, again = condition(), condition()
    turned = condition(values=np.asfortranarray(first.values))
    part = condition(values=np.repeat(first.values, 2, axis=0)[::2])
    assert first.key == again.key == turned.key == part.key


def test_other_values_or_masks_have_other_keys():
    values = condition().values.copy()
    values[3, 2] += 1
    others = [condition(), condition(values=values), condition(mask=np.array([1, 1, 0, 0], np.int32))]
    assert len({one.key for one in others}) == 3


def test_token_ids_have_keys_too():
    ids, mask = np.arange(4, dtype=np.int32), np.ones(4, np.int32)
    assert Condition(ids, mask).key == Condition(ids.copy(), mask).key != Condition(ids[::-1], mask).key


def test_a_key_is_made_once_also_for_those_that_it_is_sent_to(monkeypatch: pytest.MonkeyPatch):
    made = condition()
    key = made.key
    monkeypatch.setattr(conditions, "hashlib", None)
    sent = copy.deepcopy(made)  # goes by what a process sends to another
    assert sent.key == made.key == key
    np.testing.assert_array_equal(sent.values, made.values)


def test_a_key_that_nobody_asked_for_is_not_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conditions, "hashlib", None)
    sent = copy.deepcopy(condition())
    monkeypatch.undo()
    assert sent.key == condition().key


def test_a_grid_has_as_many_codes_as_places():
    assert Grid(2, 3, 20).num_codes == 6
