"""The engine's scheduling, on a device that computes nothing: code p of the image of seed s is (31·s + 7·p) mod 97."""

import asyncio
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import EngineFailed, InvalidValue
from model_core.sampler.engine import Engine, Ticket
from model_core.sampler.sampling import sampling_params
from model_core.sampler.sequence import CheckedJob, SamplerJob, Text

LENGTH = 12
STOPS = (4, 8)


NO_TEXT = Text(np.zeros((1, 1), np.float32), np.ones(1, np.int32), b"")


class Wish(NamedTuple):
    """A job in short."""

    seed: int
    num_rows: int = 2
    fixed: int = 0  # so many codes from the first on are given

    @property
    def job(self) -> SamplerJob:
        return SamplerJob(
            states=NO_TEXT.states,
            mask=NO_TEXT.mask,
            uncond_states=NO_TEXT.states,
            uncond_mask=NO_TEXT.mask,
            seed=self.seed,
            guidance_scale=float(self.num_rows),
            fixed_codes=codes_of(self.seed, self.fixed),
        )


class FakeSeat:
    def __init__(self, job: CheckedJob):
        self.job, self.codes, self.position = job, job.codes, job.prefix_length
        self.seed = int(job.sampling.seed[0])


class FakeRows:
    """Draws by the formula above; `faults` are raised by the next advances, and `gate` holds them up."""

    num_compiles = 0
    num_near_ties = 0

    def __init__(self, max_rows: int = 8):
        self.max_rows = max_rows
        self.seats: list[FakeSeat] = []
        self.joined: list[int] = []
        self.faults: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    @property
    def num_taken(self) -> int:
        return sum(len(seat.job.texts) for seat in self.seats)

    def warm_up(self) -> None:
        pass

    def check(self, job: SamplerJob) -> CheckedJob:
        assert job.fixed_codes is not None
        sampling = sampling_params(1, num_codes=97, seeds=[job.seed])
        return CheckedJob((NO_TEXT,) * int(job.guidance_scale), job.fixed_codes, sampling)

    def has_room(self, job: CheckedJob) -> bool:
        return self.num_taken + len(job.texts) <= self.max_rows

    def join(self, job: CheckedJob) -> FakeSeat:
        assert self.has_room(job)
        self.seats.append(FakeSeat(job))
        self.joined.append(self.seats[-1].seed)
        return self.seats[-1]

    def leave(self, seat: Any) -> None:
        self.seats.remove(seat)

    def advance(self, steps: int) -> int:
        self.entered.set()
        self.gate.wait(30)
        if self.faults:
            raise self.faults.pop(0)
        assert self.seats
        drawn = 0
        for seat in self.seats:
            before, seat.position = seat.position, min(seat.position + steps, LENGTH)
            drawn += seat.position - before
            seat.codes = codes_of(seat.seed, seat.position)
        return drawn


def codes_of(seed: int, position: int = LENGTH) -> np.ndarray:
    places = np.arange(LENGTH, dtype=np.int32)
    return np.where(places < position, (31 * seed + 7 * places) % 97, np.int32(-1))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Told:
    """A listener that checks the order of what it is told."""

    def __init__(self, wish: Wish):
        self.wish = wish
        self.ticket: Ticket
        self.events: list[Any] = []
        self.may_be_told = True

    def __call__(self, event: Any) -> None:
        assert self.may_be_told and not self.is_over
        if not isinstance(event, Exception):
            known = int((event >= 0).sum())
            np.testing.assert_array_equal(event[:known], codes_of(self.wish.seed)[:known])
            assert known > max(self.numbers, default=self.wish.fixed if self.wish.fixed < LENGTH else 0)
        self.events.append(event)

    @property
    def numbers(self) -> list[int]:
        return [int((event >= 0).sum()) for event in self.events if not isinstance(event, Exception)]

    @property
    def is_over(self) -> bool:
        return bool(self.events) and (isinstance(self.events[-1], Exception) or self.numbers[-1] == LENGTH)


moves = st.one_of(
    st.tuples(
        st.just("submit"),
        st.sampled_from("abc"),
        st.sampled_from([1, 2]),
        st.sampled_from([0, 0, 3, 4, LENGTH]),
        st.sampled_from([None, 2.0, 5.0]),
    ),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("turn"), st.integers(1, 5)),
    st.tuples(st.just("turn"), st.integers(1, 5)),
    st.tuples(st.just("wait"), st.just(1.0)),
    st.tuples(st.just("fault")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(moves, max_size=40), st.sampled_from([1, 3, 4, 16]))
def test_whatever_comes_no_row_is_lost_no_job_is_lost_and_no_code_is_wrong(
    moves: list[tuple[Any, ...]], codes_per_advance: int
):
    rows, clock = FakeRows(max_rows=5), Clock()
    engine = Engine(rows, codes_per_advance=codes_per_advance, clock=clock)
    told: list[Told] = []
    has_failed = False
    for move, *details in moves:
        if move == "submit":
            request_id, num_rows, fixed, timeout_s = details
            listener = Told(Wish(len(told), num_rows, fixed))
            if has_failed:
                with pytest.raises(EngineFailed):
                    submit(engine, listener, request_id, timeout_s)
            else:
                submit(engine, listener, request_id, timeout_s)
                told.append(listener)
        elif move == "cancel" and told:
            listener = told[details[0] % len(told)]
            engine.cancel(listener.ticket)
            listener.may_be_told = False
        elif move == "turn":
            for _ in range(details[0]):
                engine._turn()
        elif move == "wait":
            clock.now += details[0]
        elif move == "fault" and engine.stats().running:
            rows.faults.append(RuntimeError("the device is gone"))
            engine._turn()
            has_failed = not rows.faults
            rows.faults.clear()
        assert rows.num_taken <= rows.max_rows
    for _ in range(LENGTH * len(told) + 1):
        engine._turn()
    stats = engine.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert has_failed or stats.rows_taken == 0
    for listener in told:
        assert listener.is_over or not listener.may_be_told
        assert len(listener.events) <= len(STOPS) + 1
        if listener.events and isinstance(listener.events[-1], TimeoutError):
            assert listener.ticket.expires < clock.now
        elif listener.events and isinstance(listener.events[-1], EngineFailed):
            assert has_failed


def submit(engine: Engine, listener: Told, request_id: str, timeout_s: float | None) -> None:
    job = listener.wish.job
    listener.ticket = engine.submit(job, listener, request_id=request_id, timeout_s=timeout_s, stops=STOPS)


def test_a_small_request_does_not_wait_for_a_large_one():
    """Four images at a time: the one of the second request starts as soon as any of the first 128 is done."""
    rows = FakeRows(max_rows=8)
    engine = Engine(rows, codes_per_advance=4)
    for seed in range(128):
        submit(engine, Told(Wish(seed)), "large", None)
    engine._turn()
    submit(engine, small := Told(Wish(1000)), "small", None)
    for _ in range(7):  # four for what is left of the first four images, three for its own
        engine._turn()
    assert rows.joined[:5] == [0, 1, 2, 3, 1000]
    assert small.is_over


def test_turns_are_short_after_a_pause():
    """Who comes a moment after the first after a pause waits for a code of it, not for a row."""
    engine = Engine(FakeRows(), codes_per_advance=4)
    for seed in range(2):
        submit(engine, first := Told(Wish(seed)), "", None)
        engine._turn()
        submit(engine, second := Told(Wish(seed + 10)), "", None)
        positions = []
        while not second.is_over:
            engine._turn()
            positions.append((first.ticket.seat.position, second.ticket.seat.position))
        assert positions == [(2, 1), (4, 3), (8, 7), (12, 11), (12, 12)]


def test_rows_are_not_given_to_others_before_the_one_whose_turn_it_is():
    """A job that needs one row does not overtake one that needs two, which would never find two free."""
    rows = FakeRows(max_rows=3)
    engine = Engine(rows, codes_per_advance=4)
    for seed, num_rows in enumerate([2, 2, 1]):
        submit(engine, Told(Wish(seed, num_rows)), f"{seed}", None)
    engine._turn()
    assert rows.joined == [0]


def test_codes_that_are_given_are_not_told_as_news():
    engine = Engine(FakeRows(), codes_per_advance=4)
    submit(engine, primed := Told(Wish(1, fixed=5)), "", None)
    for _ in range(4):
        engine._turn()
    assert primed.numbers == [9, 12]
    submit(engine, resumed := Told(Wish(2, fixed=8)), "", None)
    for _ in range(3):
        engine._turn()
    assert resumed.numbers == [12]
    assert engine.stats().codes_drawn == 11


def test_an_image_of_given_codes_needs_no_device():
    engine = Engine(FakeRows())
    submit(engine, given_all := Told(Wish(1, fixed=LENGTH)), "", None)
    assert given_all.numbers == [LENGTH]
    assert engine.stats().waiting == 0


def test_a_wrong_job_is_refused_where_it_is_submitted():
    with pytest.raises(InvalidValue, match="seeds"):
        submit(Engine(FakeRows()), Told(Wish(-1)), "", None)


def test_a_listener_that_fails_costs_only_its_own_job():
    rows = FakeRows()
    engine = Engine(rows, codes_per_advance=4)
    engine.submit(Wish(1).job, lambda event: 1 / 0, stops=STOPS)
    submit(engine, other := Told(Wish(2)), "", None)
    for _ in range(5):
        engine._turn()
    assert other.is_over
    assert rows.joined == [1, 2] and rows.num_taken == 0


@pytest.fixture
def started() -> Any:
    """An engine with its thread, and its device."""
    rows = FakeRows(max_rows=4)
    engine = Engine(rows, codes_per_advance=4, max_stall_s=20)
    engine.start()
    yield engine, rows
    rows.gate.set()
    engine.close()
    assert not engine._thread.is_alive()


async def stream(engine: Engine, seed: int, **given: Any) -> list[np.ndarray]:
    return [codes async for codes in engine.stream(Wish(seed).job, stops=STOPS, **given)]


def test_streams_from_an_event_loop(started: Any):
    engine, _ = started

    async def draw_ten() -> list[list[np.ndarray]]:
        return await asyncio.gather(*(stream(engine, seed, request_id=f"{seed % 3}") for seed in range(10)))

    for seed, events in enumerate(asyncio.run(draw_ten())):
        assert [int((codes >= 0).sum()) for codes in events] == [4, 8, 12]
        np.testing.assert_array_equal(events[-1], codes_of(seed))
    assert engine.stats().codes_drawn == 10 * LENGTH
    assert engine.stats().rows_taken == 0


def test_closing_a_stream_frees_its_rows_by_the_next_advance(started: Any):
    engine, rows = started

    async def leave_early() -> None:
        stream = engine.stream(Wish(1).job, stops=STOPS)
        await anext(stream)
        await stream.aclose()

    asyncio.run(leave_early())
    asyncio.run(stream(engine, 2))
    assert rows.num_taken == 0


def test_a_stream_ends_at_its_deadline(started: Any):
    engine, rows = started
    rows.gate.clear()

    async def check() -> None:
        first = asyncio.create_task(stream(engine, 1))
        while not rows.entered.is_set():
            await asyncio.sleep(0)
        late = asyncio.create_task(stream(engine, 2, timeout_s=0.0))
        await asyncio.sleep(0.01)
        rows.gate.set()
        with pytest.raises(TimeoutError, match="longer than it may"):
            await late
        assert len(await first) == 3

    asyncio.run(check())
    assert 2 not in rows.joined


def test_a_failing_step_ends_its_jobs_and_the_engine(started: Any):
    engine, rows = started
    engine.check_health()
    rows.faults.append(RuntimeError("out of memory"))

    async def draw() -> list[Any]:
        return await asyncio.gather(*(stream(engine, seed) for seed in range(5)), return_exceptions=True)

    assert all(isinstance(result, EngineFailed) for result in asyncio.run(draw()))
    with pytest.raises(EngineFailed, match="out of memory"):
        engine.check_health()
    with pytest.raises(EngineFailed, match="replaced"):
        asyncio.run(stream(engine, 1))


def test_a_stalled_step_is_seen():
    rows, clock = FakeRows(), Clock()
    engine = Engine(rows, max_stall_s=20, clock=clock)
    engine.start()
    engine.check_health()
    rows.gate.clear()
    submit(engine, Told(Wish(1)), "", None)
    assert rows.entered.wait(30)
    clock.now = 19.0
    engine.check_health()
    clock.now = 21.0
    with pytest.raises(EngineFailed, match="no progress for 21 s"):
        engine.check_health()
    rows.gate.set()
    engine.close()


def test_an_engine_that_does_not_run_is_not_well():
    engine = Engine(FakeRows())
    with pytest.raises(EngineFailed, match="thread"):
        engine.check_health()


def test_closing_ends_what_waits():
    rows = FakeRows()
    engine = Engine(rows)
    submit(engine, waiting := Told(Wish(1)), "", None)
    engine.close()
    assert isinstance(waiting.events[-1], EngineFailed)
