"""Who is next, whatever comes and goes."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from model_core.sampler.fair_queue import FairQueue


def fill(queue: FairQueue[str], request: str, count: int) -> None:
    for i in range(count):
        queue.add(request, f"{request}{i}")


def start(queue: FairQueue[str], count: int) -> list[str]:
    return [queue.start() for _ in range(count)]


def test_one_request_alone_is_served_in_order():
    queue: FairQueue[str] = FairQueue()
    fill(queue, "a", 3)
    assert start(queue, 3) == ["a0", "a1", "a2"]
    assert queue.next() is None
    assert len(queue) == 0


def test_a_small_request_takes_the_next_place_after_a_large_one():
    queue: FairQueue[str] = FairQueue()
    fill(queue, "large", 128)
    start(queue, 4)
    fill(queue, "small", 1)
    queue.end("large")
    assert start(queue, 2) == ["small0", "large4"]


def test_requests_with_equally_many_running_take_turns():
    queue: FairQueue[str] = FairQueue()
    for request in "abc":
        fill(queue, request, 2)
    assert start(queue, 6) == ["a0", "b0", "c0", "a1", "b1", "c1"]


def test_among_equals_the_one_is_next_whose_last_end_is_longest_ago():
    queue: FairQueue[str] = FairQueue()
    for request in "ab":
        fill(queue, request, 2)
    start(queue, 2)
    queue.end("b")
    queue.end("a")
    assert start(queue, 2) == ["b1", "a1"]


def test_a_large_request_moves_on_under_a_stream_of_small_ones():
    """One place; a new small request comes for each one that is served."""
    queue: FairQueue[str] = FairQueue()
    fill(queue, "large", 3)
    served = []
    for i in range(6):
        queue.add(f"small{i}", f"small{i}")
        served.append(queue.start())
        queue.end("large" if served[-1].startswith("large") else served[-1])
    assert [sequence for sequence in served if sequence.startswith("large")] == ["large0", "large1", "large2"]


@given(st.lists(st.tuples(st.sampled_from(["add", "start", "end", "remove"]), st.integers(0, 3))))
def test_no_sequence_is_lost_or_served_twice_and_the_fewest_running_come_first(moves: list[tuple[str, int]]):
    queue: FairQueue[tuple[str, int]] = FairQueue()
    waiting: list[tuple[str, int]] = []
    running: Counter[str] = Counter()
    for number, (move, which) in enumerate(moves):
        request = "abcd"[which]
        if move == "add":
            queue.add(request, (request, number))
            waiting.append((request, number))
        elif move == "start" and waiting:
            expected = queue.next()
            sequence = queue.start()
            assert sequence == expected
            assert sequence == next(other for other in waiting if other[0] == sequence[0])
            assert running[sequence[0]] == min(running[other] for other, _ in waiting)
            waiting.remove(sequence)
            running[sequence[0]] += 1
        elif move == "end" and running[request]:
            queue.end(request)
            running[request] -= 1
        elif move == "remove" and (mine := [sequence for sequence in waiting if sequence[0] == request]):
            queue.remove(request, mine[-1])
            waiting.remove(mine[-1])
        assert sorted(queue) == sorted(waiting)
        assert len(queue) == len(waiting)
