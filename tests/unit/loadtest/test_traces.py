from collections import Counter

from loadtest.traces import ZipfTrace

PROMPTS = ["a", "b", "c"]


def test_the_popular_come_as_often_as_zipf_says():
    trace = ZipfTrace(PROMPTS, 100, 1.0, 0)
    asked = Counter(trace.next()["seed"] for _ in range(20_000))
    harmonic = sum(1 / rank for rank in range(1, 101))
    for rank in (1, 2, 10):
        assert abs(asked[rank - 1] / 20_000 - 1 / rank / harmonic) < 0.01
    assert len(asked) == 100


def test_a_trace_is_the_same_each_time_and_a_request_too():
    first, second, other = (ZipfTrace(PROMPTS, 50, 1.2, seed) for seed in (7, 7, 8))
    asked = [first.next() for _ in range(200)]
    assert asked == [second.next() for _ in range(200)]
    assert asked != [other.next() for _ in range(200)]
    prompts = {request["seed"]: request["prompt"] for request in asked}
    assert all(prompts[request["seed"]] == request["prompt"] for request in asked)
    assert {"a", "b and a"} <= set(prompts.values())
