"""The engine's scheduling, on a device that computes nothing: code p of the image of seed s is (31·s + 7·p) mod 97.

It may draw more codes than it is asked for.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import EngineFailed, InvalidValue, NotFinite
from model_core.families.conditions import Condition
from model_core.sampler.engine import Engine
from model_core.sampler.sequence import Sampling, Sequence, Slot

LENGTH = 12
STOPS = (4, 8)
NO_TEXT = Condition(np.zeros((1, 1), np.float32), np.ones(1, np.int32))


class Wish(NamedTuple):
    """A sequence in short."""

    seed: int
    num_rows: int = 2
    fixed: int = 0  # so many codes from the first on are given

    @property
    def sequence(self) -> Sequence:
        return Sequence(
            condition=NO_TEXT,
            uncondition=NO_TEXT,
            seed=self.seed,
            sampling=Sampling(guidance_scale=float(self.num_rows)),
            fixed_codes=codes_of(self.seed, self.fixed),
        )


class FakeRows:
    """Draws by the formula above. `faults` are raised by the next turns, and `gate` holds them up.

    A device that runs ahead fails where a turn is read, any other where it begins.
    """

    num_near_ties = num_steps = num_tried = 0
    window = 1

    def __init__(self, max_rows: int = 8, *, runs_ahead: bool = False, luck: Callable[[], int] = lambda: 0):
        self.max_rows, self.runs_ahead, self.luck = max_rows, runs_ahead, luck
        self.sequences: list[Sequence] = []
        self.turns: deque[list[tuple[Sequence, int, int, int]]] = deque()
        self.positions: dict[Sequence, int] = {}
        self.joined: list[int] = []
        self.parked: list[int] = []
        self.faults: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    @property
    def num_taken(self) -> int:
        return sum(len(sequence.conditions) for sequence in self.sequences)

    @property
    def num_turns(self) -> int:
        return len(self.turns)

    def warm_up(self) -> None:
        pass

    def check(self, sequence: Sequence) -> None:
        sequence.check((1, 1), 97, LENGTH)

    def has_room(self, sequence: Sequence) -> bool:
        return self.num_taken + len(sequence.conditions) <= self.max_rows

    def join(self, sequence: Sequence) -> None:
        assert self.has_room(sequence)
        sequence.slot = Slot(sequence.position, sequence.position)
        self.sequences.append(sequence)
        self.positions[sequence] = sequence.position
        self.joined.append(sequence.seed)

    def park(self, sequence: Sequence) -> None:
        assert not self.turns and self.positions[sequence] == sequence.position
        self.parked.append(sequence.seed)
        self.leave(sequence)

    def leave(self, sequence: Sequence) -> None:
        if sequence.slot is not None:
            self.sequences.remove(sequence)
            sequence.slot = None

    def advance(self, codes: int) -> None:
        assert self.sequences and self.num_turns <= self.runs_ahead
        if not self.runs_ahead:
            self.work()
        turn = []
        for sequence in list(self.sequences):
            assert sequence.slot is not None
            before = self.positions[sequence]
            self.positions[sequence] = min(before + codes + self.luck(), LENGTH)
            sequence.slot.position = min(sequence.slot.position + codes, LENGTH)
            turn.append((sequence, before, self.positions[sequence], codes))
            if sequence.slot.position == LENGTH:
                self.leave(sequence)
        self.turns.append(turn)

    def read(self) -> int:
        if self.runs_ahead:
            self.work()
        turn = self.turns.popleft()
        for sequence, before, position, codes in turn:
            sequence.codes, sequence.position = codes_of(sequence.seed, position), position
            if sequence.slot is not None:
                sequence.slot.position += position - before - codes
                if position == LENGTH:
                    self.leave(sequence)
        return sum(position - before for _, before, position, _ in turn)

    def work(self) -> None:
        self.entered.set()
        self.gate.wait(30)
        if self.faults:
            raise self.faults.pop(0)


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
        self.wish, self.sequence = wish, wish.sequence
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
        st.booleans(),
    ),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("turn"), st.integers(1, 5)),
    st.tuples(st.just("turn"), st.integers(1, 5)),
    st.tuples(st.just("wait"), st.just(1.0)),
    st.tuples(st.just("fault")),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(moves, max_size=40),
    st.sampled_from([1, 3, 4, 16]),
    st.booleans(),
    st.lists(st.integers(0, 6), min_size=1, max_size=5),
)
def test_whatever_comes_no_row_is_lost_no_sequence_is_lost_and_no_code_is_wrong(
    moves: list[tuple[Any, ...]], codes_per_advance: int, runs_ahead: bool, luck: list[int]
):
    """Where steps draw more codes than one, too."""
    rows, clock = FakeRows(max_rows=5, runs_ahead=runs_ahead, luck=cycle(luck).__next__), Clock()
    engine = Engine(rows, codes_per_advance=codes_per_advance, clock=clock)
    told: list[Told] = []
    has_failed = False
    for move, *details in moves:
        if move == "submit":
            request_id, num_rows, fixed, timeout_s, is_batch = details
            listener = Told(Wish(len(told), num_rows, fixed))
            if has_failed:
                with pytest.raises(EngineFailed):
                    submit(engine, listener, request_id, timeout_s, is_batch)
            else:
                submit(engine, listener, request_id, timeout_s, is_batch)
                told.append(listener)
        elif move == "cancel" and told:
            listener = told[details[0] % len(told)]
            engine.cancel(listener.sequence)
            listener.may_be_told = False
        elif move == "turn":
            take_turns(engine, details[0])
        elif move == "wait":
            clock.now += details[0]
        elif move == "fault" and not has_failed:
            rows.faults.append(RuntimeError("the device is gone"))
            take_turns(engine, 1)
            has_failed = not rows.faults
            rows.faults.clear()
        assert rows.num_taken <= rows.max_rows
        begun = [one for one in (*engine._running, *engine._queue._gave_way) if one.is_batch and not one.is_over]
        assert sum(len(one.conditions) for one in begun if one.slot or one in engine._queue._gave_way) <= rows.max_rows
    take_turns(engine, 2 * LENGTH * len(told) + 2)
    stats = engine.stats()
    assert (len(engine._running), stats.waiting) == (0, 0)
    assert has_failed or stats.rows_taken == rows.num_turns == 0
    for listener in told:
        assert listener.is_over or not listener.may_be_told
        assert len(listener.events) <= len(STOPS) + 1
        if listener.events and isinstance(listener.events[-1], TimeoutError):
            assert listener.sequence.expires < clock.now
        elif listener.events and isinstance(listener.events[-1], EngineFailed):
            assert has_failed


def submit(
    engine: Engine, listener: Told, request_id: str = "", timeout_s: float | None = None, is_batch: bool = False
) -> None:
    sequence = listener.sequence
    engine.submit(sequence, listener, request_id=request_id, is_batch=is_batch, timeout_s=timeout_s, stops=STOPS)


def take_turns(engine: Engine, count: int) -> None:
    """As the engine's thread does, until a step fails."""
    for _ in range(count):
        if not engine._failure:
            engine._turn()


@pytest.fixture(params=[False, True], ids=["one turn at a time", "one turn ahead"])
def runs_ahead(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_a_small_request_does_not_wait_for_a_large_one():
    """Four images at a time: the one of the second request starts as soon as any of the first 128 is done."""
    rows = FakeRows(max_rows=8)
    engine = Engine(rows, codes_per_advance=4)
    for seed in range(128):
        submit(engine, Told(Wish(seed)), "large")
    engine._turn()
    submit(engine, small := Told(Wish(1000)), "small")
    take_turns(engine, 7)  # four for what is left of the first four images, three for its own
    assert rows.joined[:5] == [0, 1, 2, 3, 1000]
    assert small.is_over


def test_batch_work_fills_what_is_free_and_gives_way_by_the_next_turn(runs_ahead: bool):
    """The image that is least far goes; it goes on from there, before others of its class begin."""
    rows = FakeRows(max_rows=4, runs_ahead=runs_ahead)
    engine = Engine(rows, codes_per_advance=4)
    batch = [Told(Wish(seed)) for seed in range(4)]
    submit(engine, batch[0], "bulk", is_batch=True)
    engine._turn()
    for told in batch[1:]:
        submit(engine, told, "bulk", is_batch=True)
    take_turns(engine, 2)
    assert rows.joined == [0, 1]
    submit(engine, mine := Told(Wish(10)), "mine")
    engine._turn()
    assert rows.joined == [0, 1, 10] and rows.parked == [1]
    assert (engine.stats().batch_rows, engine.stats().batch_waiting, engine.stats().times_given_way) == (2, 3, 1)
    take_turns(engine, 12)
    assert rows.joined == [0, 1, 10, 1, 2, 3]
    assert mine.is_over and all(told.is_over for told in batch)


def test_an_image_waits_no_longer_than_in_an_idle_service_whatever_is_drawn_in_bulk(runs_ahead: bool):
    """Counted in turns, whenever it comes: it has its rows by the first, and is drawn in no more of them."""

    def turns_for_two_images(bulk: int, turns_before: int) -> int:
        rows = FakeRows(max_rows=4, runs_ahead=runs_ahead)
        engine = Engine(rows, codes_per_advance=4)
        for seed in range(bulk):
            submit(engine, Told(Wish(seed)), f"bulk{seed % 3}", is_batch=True)
        take_turns(engine, turns_before)
        before = len(rows.joined)
        mine = [Told(Wish(100 + place)) for place in range(2)]
        for told in mine:
            submit(engine, told, "mine")
        turns = 0
        while not all(told.is_over for told in mine):
            engine._turn()
            turns += 1
            assert rows.joined[before : before + 2] == [100, 101]
        return turns

    idle = turns_for_two_images(0, 0)
    assert all(turns_for_two_images(50, before) <= idle for before in range(12))


def test_batch_work_goes_on_where_giving_way_would_help_nobody():
    """One row is free of four, and the image needs two: the other three are not for batch work to give."""
    rows = FakeRows(max_rows=4)
    engine = Engine(rows, codes_per_advance=1)
    submit(engine, Told(Wish(1, num_rows=2)), "first")
    submit(engine, Told(Wish(2, num_rows=1)), "first")
    submit(engine, Told(Wish(3, num_rows=1)), "bulk", is_batch=True)
    engine._turn()
    submit(engine, Told(Wish(4, num_rows=1)), "bulk", is_batch=True)
    submit(engine, waiting := Told(Wish(5, num_rows=2)), "second")
    take_turns(engine, 3)
    assert rows.joined == [1, 2, 3] and not rows.parked
    take_turns(engine, 2 * LENGTH)
    assert waiting.is_over


def test_batch_work_that_gave_way_may_be_given_up_and_may_expire():
    rows, clock = FakeRows(max_rows=2), Clock()
    engine = Engine(rows, codes_per_advance=1, clock=clock)
    submit(engine, late := Told(Wish(1)), "bulk", timeout_s=3.0, is_batch=True)
    engine._turn()
    submit(engine, mine := Told(Wish(2)), "mine")
    engine._turn()
    assert rows.parked == [1] and list(engine._queue) == [late.sequence]
    clock.now = 4.0
    engine._turn()
    assert isinstance(late.events[-1], TimeoutError) and not len(engine._queue)
    take_turns(engine, LENGTH)
    submit(engine, left := Told(Wish(3)), "bulk", is_batch=True)
    engine._turn()
    submit(engine, Told(Wish(4)), "mine")
    engine._turn()
    engine.cancel(left.sequence)
    left.may_be_told = False
    take_turns(engine, LENGTH)
    assert mine.is_over and (len(engine._running), len(engine._queue)) == (0, 0)


def test_what_is_drawn_no_longer_counts_against_a_request():
    """One image at a time: who had four drawn is as good as who had none."""
    rows = FakeRows(max_rows=2)
    engine = Engine(rows, codes_per_advance=LENGTH)
    for seed in range(4):
        submit(engine, Told(Wish(seed)), "first")
    take_turns(engine, 30)
    submit(engine, Told(Wish(10)), "first")
    submit(engine, Told(Wish(20)), "second")
    take_turns(engine, 1)
    assert rows.joined == [0, 1, 2, 3, 10]


def test_turns_are_short_after_a_pause(runs_ahead: bool):
    """Who comes a moment after the first after a pause waits for a code of it, not for a row."""
    engine = Engine(FakeRows(runs_ahead=runs_ahead), codes_per_advance=4)
    for seed in range(2):
        submit(engine, first := Told(Wish(seed)))
        engine._turn()
        submit(engine, second := Told(Wish(seed + 10)))
        positions = []
        for _ in range(5):
            engine._turn()
            slots = first.sequence.slot, second.sequence.slot
            positions.append(tuple(slot.position if slot else LENGTH for slot in slots))
        assert positions == [(2, 1), (4, 3), (8, 7), (12, 11), (12, 12)]
        assert second.is_over != runs_ahead
        engine._turn()
        assert second.is_over


def test_more_codes_than_were_asked_for_are_told_once_and_end_an_image_early(runs_ahead: bool):
    """A turn that passes several stops is one call; who is at its end makes room when that is read."""
    rows = FakeRows(max_rows=2, runs_ahead=runs_ahead, luck=lambda: 4)
    engine = Engine(rows, codes_per_advance=4)
    submit(engine, first := Told(Wish(1)))
    submit(engine, second := Told(Wish(2)))
    take_turns(engine, 3 + runs_ahead)  # 5, 10 and 12 codes
    assert first.numbers == [5, 10, 12]
    assert rows.joined == [1] and rows.num_taken == 0
    take_turns(engine, 4)
    assert second.is_over and rows.joined == [1, 2]
    assert engine.stats().codes_drawn == 2 * LENGTH


def test_a_turn_is_begun_before_the_last_one_is_read():
    """Two turns are in flight while the device draws, and none is left unread when it is done."""
    rows = FakeRows(runs_ahead=True)
    engine = Engine(rows, codes_per_advance=4)
    submit(engine, told := Told(Wish(1)))
    seen = []
    for _ in range(7):
        engine._turn()
        seen.append((rows.num_turns, told.sequence.position))
    assert seen == [(1, 0), (1, 1), (1, 2), (1, 4), (1, 8), (0, 12), (0, 12)]
    assert told.numbers == [4, 8, 12]
    assert engine.stats().codes_drawn == LENGTH


def test_rows_are_given_on_while_their_last_turn_is_unread():
    rows = FakeRows(max_rows=2, runs_ahead=True)
    engine = Engine(rows, codes_per_advance=LENGTH)
    submit(engine, primed := Told(Wish(1, fixed=LENGTH - 1)))
    submit(engine, second := Told(Wish(2)))
    engine._turn()
    assert rows.num_taken == 0 and not primed.is_over
    engine._turn()
    assert rows.joined == [1, 2] and primed.is_over
    take_turns(engine, 6)
    assert second.is_over


def test_a_sequence_that_is_given_up_frees_its_rows_by_the_next_turn(runs_ahead: bool):
    """It is far from its end, and would hold both rows for long."""
    rows = FakeRows(max_rows=2, runs_ahead=runs_ahead)
    engine = Engine(rows, codes_per_advance=1)
    submit(engine, given_up := Told(Wish(1)))
    submit(engine, waiting := Told(Wish(2)))
    take_turns(engine, 2)
    assert rows.sequences == [given_up.sequence]
    engine.cancel(given_up.sequence)
    given_up.may_be_told = False
    engine._turn()
    assert rows.sequences == [waiting.sequence]
    assert len(engine._running) == 1
    take_turns(engine, LENGTH + 1)
    assert waiting.numbers == [4, 8, 12]


def test_a_stream_that_is_closed_early_frees_its_rows_by_the_next_turn(runs_ahead: bool):
    rows = FakeRows(max_rows=2, runs_ahead=runs_ahead)
    engine = Engine(rows, codes_per_advance=1)

    async def leave_early() -> None:
        stream = engine.stream(Wish(1).sequence, stops=STOPS)
        first = asyncio.ensure_future(anext(stream))
        while not first.done():
            await asyncio.sleep(0)
            engine._turn()
        assert (await first >= 0).sum() == 4
        assert rows.num_taken == 2
        await stream.aclose()

    asyncio.run(leave_early())
    engine._turn()
    assert rows.num_taken == len(engine._running) == 0


def test_a_step_that_fails_is_seen_where_its_turn_is_read():
    """The next turn is begun already; sequences that have left the device without being told end too."""
    rows = FakeRows(max_rows=4, runs_ahead=True)
    engine = Engine(rows, codes_per_advance=4)
    submit(engine, at_its_end := Told(Wish(1, fixed=LENGTH - 1)))
    submit(engine, begun := Told(Wish(2)))
    submit(engine, waiting := Told(Wish(3)))
    engine._turn()
    assert at_its_end.sequence.slot is None and not engine._failure
    rows.faults.append(RuntimeError("out of memory"))
    engine._turn()
    assert rows.num_turns == 2
    for told in (at_its_end, begun, waiting):
        assert len(told.events) == 1 and isinstance(told.events[0], EngineFailed)
    with pytest.raises(EngineFailed, match="out of memory"):
        engine.check_health()
    assert (len(engine._running), engine.stats().waiting) == (0, 0)


def test_logits_that_are_not_finite_end_the_engine_and_are_named(runs_ahead: bool):
    """Another replica can draw the images; this one is to be replaced."""
    rows = FakeRows(runs_ahead=runs_ahead)
    engine = Engine(rows, codes_per_advance=4)
    submit(engine, told := Told(Wish(1)))
    rows.faults.append(NotFinite("The token sampler computed logits that are not finite."))
    take_turns(engine, 2)
    (event,) = told.events
    assert isinstance(event, EngineFailed) and "logits that are not finite" in str(event)
    with pytest.raises(EngineFailed, match="not finite"):
        engine.check_health()


def test_a_sequence_that_runs_ends_at_its_deadline(runs_ahead: bool):
    rows, clock = FakeRows(max_rows=2, runs_ahead=runs_ahead), Clock()
    engine = Engine(rows, codes_per_advance=1, clock=clock)
    submit(engine, late := Told(Wish(1)), timeout_s=3.0)
    submit(engine, never := Told(Wish(2)), timeout_s=3.0)
    take_turns(engine, 2)
    clock.now = 3.0
    engine._turn()
    assert not late.events
    clock.now = 3.5
    engine._turn()
    assert [type(told.events[-1]) for told in (late, never)] == [TimeoutError] * 2
    assert rows.num_taken == 0


def test_rows_are_not_given_to_others_before_the_one_whose_turn_it_is():
    """A sequence that needs one row does not overtake one that needs two, which would never find two free."""
    rows = FakeRows(max_rows=3)
    engine = Engine(rows, codes_per_advance=4)
    for seed, num_rows in enumerate([2, 2, 1]):
        submit(engine, Told(Wish(seed, num_rows)), f"{seed}")
    engine._turn()
    assert rows.joined == [0]


def test_codes_that_are_given_are_not_told_as_news():
    engine = Engine(FakeRows(), codes_per_advance=4)
    submit(engine, primed := Told(Wish(1, fixed=5)))
    take_turns(engine, 4)
    assert primed.numbers == [9, 12]
    submit(engine, resumed := Told(Wish(2, fixed=8)))
    take_turns(engine, 3)
    assert resumed.numbers == [12]
    assert engine.stats().codes_drawn == 11


def test_an_image_of_given_codes_needs_no_device():
    engine = Engine(FakeRows())
    submit(engine, given_all := Told(Wish(1, fixed=LENGTH)))
    assert given_all.numbers == [LENGTH]
    assert engine.stats().waiting == 0


def test_a_wrong_sequence_is_refused_where_it_is_submitted():
    with pytest.raises(InvalidValue, match="seed"):
        submit(Engine(FakeRows()), Told(Wish(-1)))


def test_a_listener_that_fails_costs_only_its_own_sequence(runs_ahead: bool):
    rows = FakeRows(runs_ahead=runs_ahead)
    engine = Engine(rows, codes_per_advance=4)
    told = []
    engine.submit(Wish(1).sequence, lambda event: told.append(event) or 1 / 0, stops=STOPS)
    submit(engine, other := Told(Wish(2)))
    take_turns(engine, 6)
    assert other.is_over and len(told) == 1  # it is given up, and told no more
    assert rows.joined == [1, 2] and rows.num_taken == 0


def test_real_rows_draw_what_they_draw_without_an_engine(sampler_rows, sequences, alone):
    """Six sequences share four rows, come in twos, and one is given up in between."""
    engine = Engine(sampler_rows, codes_per_advance=2)
    events: dict[int, list[Any]] = {place: [] for place in range(len(sequences))}
    given_up = replace(sequences[0])
    engine.submit(given_up, events[0].append)
    for place, sequence in enumerate(sequences[1:], 1):
        engine.submit(replace(sequence), events[place].append, request_id=f"{place % 2}")
        engine._turn()
        if place == 2:
            engine.cancel(given_up)
    take_turns(engine, 40)
    assert not engine._failure and not events[0]
    for place, expected in enumerate(alone[1:], 1):
        np.testing.assert_array_equal(events[place], [expected])
    assert sampler_rows.num_taken == sampler_rows.num_turns == sampler_rows.compiles.count == 0


@pytest.fixture
def started(runs_ahead: bool) -> Any:
    """An engine with its thread, and its device."""
    rows = FakeRows(max_rows=4, runs_ahead=runs_ahead)
    engine = Engine(rows, codes_per_advance=4, max_stall_s=20)
    engine.start()
    yield engine, rows
    rows.gate.set()
    engine.close()
    assert not engine._thread.is_alive()


async def stream(engine: Engine, seed: int, **given: Any) -> list[np.ndarray]:
    return [codes async for codes in engine.stream(Wish(seed).sequence, stops=STOPS, **given)]


def test_streams_from_an_event_loop(started: Any):
    engine, _ = started

    async def draw_ten() -> list[list[np.ndarray]]:
        return await asyncio.gather(*(stream(engine, seed, request_id=f"{seed % 3}") for seed in range(10)))

    for seed, events in enumerate(asyncio.run(draw_ten())):
        assert [int((codes >= 0).sum()) for codes in events] == [4, 8, 12]
        np.testing.assert_array_equal(events[-1], codes_of(seed))
    assert engine.stats().codes_drawn == 10 * LENGTH
    assert engine.stats().rows_taken == 0


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


def test_a_failing_step_ends_its_sequences_and_the_engine(started: Any):
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


def test_a_stalled_step_is_seen(runs_ahead: bool):
    rows, clock = FakeRows(runs_ahead=runs_ahead), Clock()
    engine = Engine(rows, max_stall_s=20, clock=clock)
    engine.start()
    engine.check_health()
    rows.gate.clear()
    submit(engine, Told(Wish(1)))
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


def test_closing_ends_what_waits_and_what_runs(runs_ahead: bool):
    engine = Engine(FakeRows(max_rows=2, runs_ahead=runs_ahead))
    submit(engine, running := Told(Wish(1)))
    engine._turn()
    submit(engine, waiting := Told(Wish(2)))
    engine.close()
    for told in (running, waiting):
        assert len(told.events) == 1 and isinstance(told.events[0], EngineFailed)
    with pytest.raises(EngineFailed):
        submit(engine, Told(Wish(3)))
