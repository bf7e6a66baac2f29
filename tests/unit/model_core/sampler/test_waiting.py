from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model_core.families.conditions import Condition
from model_core.sampler.sequence import Sequence
from model_core.sampler.waiting import Waiting

NO_TEXT = Condition(np.zeros((1, 1), np.float32), np.ones(1, np.int32))


def sequence(seed: int, request_id: str = "", is_batch: bool = False) -> Sequence:
    made = Sequence(condition=NO_TEXT, seed=seed)
    made.request_id, made.is_batch = request_id, is_batch
    return made


def test_batch_work_goes_last_and_what_was_under_way_before_what_was_not():
    waiting = Waiting()
    for seed, is_batch in enumerate([True, True, False]):
        waiting.add(sequence(seed, "r", is_batch))
    assert [one.seed for one in waiting] == [2, 0, 1] and waiting.num_batch == 2
    interactive, first = waiting.start(), waiting.start()
    assert (interactive.seed, first.seed) == (2, 0)
    waiting.give_way(first)
    assert [waiting.start().seed for _ in range(2)] == [0, 1]
    assert waiting.next() is None


def test_who_gave_way_and_is_given_up_counts_as_running_no_more():
    waiting = Waiting()
    waiting.add(sequence(0, "r", is_batch=True))
    started = waiting.start()
    waiting.give_way(started)
    waiting.remove(started)
    assert not len(waiting) and not waiting._batch._running


moves = st.lists(
    st.tuples(st.sampled_from(["add", "start", "end", "remove", "give way"]), st.integers(0, 3), st.booleans())
)


@given(moves)
def test_no_sequence_is_lost_or_served_twice(moves: list[tuple[str, int, bool]]):
    waiting = Waiting()
    here: list[Sequence] = []
    running: list[Sequence] = []
    for number, (move, which, is_batch) in enumerate(moves):
        if move == "add":
            here.append(sequence(number, "abcd"[which], is_batch))
            waiting.add(here[-1])
        elif move == "start" and here:
            expected = waiting.next()
            started = waiting.start()
            assert started is expected
            assert not started.is_batch or all(one.is_batch for one in here)
            here.remove(started)
            running.append(started)
        elif move == "end" and running:
            waiting.end(running.pop(which % len(running)))
        elif move == "remove" and here:
            waiting.remove(here.pop(which % len(here)))
        elif move == "give way" and (mine := [one for one in running if one.is_batch]):
            running.remove(mine[0])
            waiting.give_way(mine[0])
            here.append(mine[0])
        assert Counter(map(id, waiting)) == Counter(map(id, here))
        assert len(waiting) == len(here) and waiting.num_batch == sum(one.is_batch for one in here)
    for one in [*running, *here]:
        (waiting.end if one in running else waiting.remove)(one)
    assert not waiting._interactive._running and not waiting._batch._running
