from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.ledger import Bucket, Ledger


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_minute_and_fills_up_evenly():
    clock = Clock()
    bucket = Bucket(60, clock)
    bucket.take(50)
    assert (bucket.left, bucket.seconds_to(20)) == (10, 10)
    clock.now = 10.0
    assert (bucket.left, bucket.seconds_to(20)) == (20, 0)
    clock.now = 1000.0
    assert bucket.left == 60
    bucket.take(100)
    assert bucket.left == 0
    bucket.put(100)
    assert bucket.left == 60


def test_credit_is_what_is_needed_or_nothing_and_half_of_the_rest_at_most():
    ledger = Ledger(Clock())
    assert ledger.credit("key", 60, 10, 4) == (14, 46)
    assert ledger.credit("key", 60, 47, 4) == (0, 46)
    assert ledger.credit("key", 60, 40, 100) == (43, 3)
    assert ledger.credit("other", 60, 1, 0) == (1, 59)
    ledger.give_back("key", 10)
    assert ledger.credit("key", 60, 13, 0) == (13, 0)
    assert ledger.credit("key", 30, 30, 0) == (30, 0)  # a key that may have less now
    ledger.give_back("never seen", 5)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 8), st.integers(0, 20), st.floats(0, 20)), max_size=40))
def test_never_more_is_given_than_a_minute_holds_and_time_brings(asked: list[tuple[int, int, int, float]]):
    clock = Clock()
    ledger = Ledger(clock)
    given = 0.0
    for _, needed, spare, wait_s in asked:
        clock.now += wait_s
        given += ledger.credit("key", 30, needed, spare).images
        assert given <= 30 + clock.now / 2 + 1e-6


def test_reports_are_of_all_there_was_so_that_repeating_them_changes_nothing():
    ledger = Ledger(Clock())
    for _ in range(2):
        ledger.report("first", {"key": {"emoji": {"requests": 2, "images_drawn": 5}}})
    ledger.report("second", {"key": {"emoji": {"requests": 1}, "mini": {"requests": 1}}, "other": {}})
    ledger.report("first", {"key": {"emoji": {"requests": 3, "images_drawn": 6}}})
    assert ledger.usage("key").models == {"emoji": {"requests": 4, "images_drawn": 6}, "mini": {"requests": 1}}
    assert ledger.usage("nobody").models == {}
