"""Continuous batching: one thread draws many images at once; sequences come and go between turns.

`submit` and `cancel` may be called from any thread, `stream` from any event loop; the engine's thread alone touches the
device. Which waiting sequence is next is for `waiting.py` to say, what happens on the device for `rows.py`.
A step that fails ends the engine: its sequences end with `EngineFailed`, and so does whoever asks from then on.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int32

from model_core.errors import EngineFailed, NotFinite
from model_core.families.conditions import FREE
from model_core.sampler.sequence import Sequence
from model_core.sampler.waiting import Waiting

if TYPE_CHECKING:
    from model_core.sampler.rows import Rows
else:
    Rows = Any  # tests have rows that compute nothing

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """What the engine does, and has done since it started.

    Attributes:
      rows: that it can draw at a time; a sequence under guidance takes two.
      rows_taken: by the sequences that run.
      near_ties: codes that another batch composition might have drawn otherwise; see `sampling.NEAR_TIE`.
      codes_tried: those that were drawn and thrown away counted too.
      steps: taken, those of each image counted.
      window: so many codes a step tries to draw just now.
      batch_rows: of those taken, by sequences that give way to others.
      batch_waiting: of those waiting, the same.
      times_given_way: so far.
    """

    rows: int
    rows_taken: int
    waiting: int
    codes_drawn: int
    near_ties: int
    codes_tried: int
    steps: int
    window: int
    batch_rows: int = 0
    batch_waiting: int = 0
    times_given_way: int = 0


class Engine:
    """Draws the sequences that are submitted to it.

    Args:
      rows: the device's side, which from here on nobody else uses.
      codes_per_advance: after about so many codes sequences come, go and report. The first turns after a pause are
        shorter: who asks for several images sends them one after another, and the later ones should not wait for the
        first.
      max_stall_s: an advance that takes longer makes the engine unhealthy.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        codes_per_advance: int = 16,
        max_stall_s: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._rows = rows
        self._codes_per_advance = codes_per_advance
        self._max_stall_s = max_stall_s
        self._clock = clock
        self._changed = threading.Condition()  # its lock guards all below
        self._queue = Waiting()
        self._times_given_way = 0
        self._running: list[Sequence] = []  # joined, and not yet told their end
        self._codes_since_pause = 0
        self._codes_drawn = 0
        self._advancing_since: float | None = None
        self._failure: Exception | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="sampler-engine", daemon=True)

    def start(self) -> None:
        """Compiles everything, then begins to draw."""
        self._rows.warm_up()
        self._thread.start()

    def close(self) -> None:
        """Stops after the step under way; sequences that are still here end with `EngineFailed`."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(self._max_stall_s)
        self._end_all("The engine was closed.")

    def submit(
        self,
        sequence: Sequence,
        listener: Callable[[Any], None],
        *,
        request_id: str = "",
        is_batch: bool = False,
        timeout_s: float | None = None,
        stops: tuple[int, ...] = (),
    ) -> None:
        """Puts a sequence in the queue; `cancel` takes it out again.

        Args:
          listener: called from the engine's thread, and must return at once. Last with a whole image's codes,
            int32 [N], or with an error: `TimeoutError`, `EngineFailed`. Before, at the stops, with the codes so far, -1
            for those to come.
          request_id: sequences of one request share its turns with each other, not with other requests.
          is_batch: it is drawn where rows are free, and by the next turn gives them to others that want them; what is
            drawn of it stays.
          timeout_s: how long it may take from now on, waiting included.
          stops: numbers of codes; where one turn passes several, they are one call.

        Raises:
          InvalidValue: the sequence cannot be drawn.
          EngineFailed: nothing can.
        """
        self._rows.check(sequence)
        sequence.listener, sequence.request_id, sequence.is_batch = listener, request_id, is_batch
        sequence.stops = tuple(stop for stop in stops if stop > sequence.position)
        sequence.expires = math.inf if timeout_s is None else self._clock() + timeout_s
        with self._changed:
            if self._failure or self._is_closed:
                raise EngineFailed("The engine draws no more; its replica is being replaced.")
            if (sequence.codes == FREE).any():
                self._queue.add(sequence)
                self._changed.notify()
                return
        sequence.is_over = True  # nothing is left to draw
        listener(sequence.codes)

    def cancel(self, sequence: Sequence) -> None:
        """Gives a sequence up, waiting, running or over; its rows are free from the next turn on."""
        with self._changed:
            if not sequence.is_over and sequence not in self._running:
                self._queue.remove(sequence)
            sequence.is_over = True
            self._changed.notify()

    async def stream(
        self,
        sequence: Sequence,
        *,
        request_id: str = "",
        is_batch: bool = False,
        timeout_s: float | None = None,
        stops: tuple[int, ...] = (),
    ) -> AsyncGenerator[Int32[np.ndarray, " N"], None]:
        """Submits a sequence and yields what its listener would be called with; closing it early gives it up.

        A slow reader holds up nobody: what it has not read yet waits for it, at most one array for each stop.

        Raises:
          InvalidValue, EngineFailed: as `submit`.
          TimeoutError: it took longer than `timeout_s`.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Any] = asyncio.Queue()

        def listen(event: Any) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        self.submit(sequence, listen, request_id=request_id, is_batch=is_batch, timeout_s=timeout_s, stops=stops)
        try:
            is_last = False
            while not is_last:
                event = await events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                is_last = (event != FREE).all()
        finally:
            self.cancel(sequence)

    def stats(self) -> EngineStats:
        """What it does just now."""
        with self._changed:
            return EngineStats(
                rows=self._rows.max_rows,
                rows_taken=self._rows.num_taken,
                waiting=len(self._queue),
                codes_drawn=self._codes_drawn,
                near_ties=self._rows.num_near_ties,
                codes_tried=self._rows.num_tried,
                steps=self._rows.num_steps,
                window=self._rows.window,
                batch_rows=sum(len(one.conditions) for one in self._batch_with_rows()),
                batch_waiting=self._queue.num_batch,
                times_given_way=self._times_given_way,
            )

    def check_health(self) -> None:
        """Returns where all is well.

        Raises:
          EngineFailed: a step failed, the thread is gone, or it has been in one advance for longer than `max_stall_s`.
        """
        since = self._advancing_since
        if self._failure:
            raise EngineFailed(f"A step of the engine failed: {self._failure!r}.") from self._failure
        if not self._thread.is_alive():
            raise EngineFailed("The engine's thread is not running.")
        if since is not None and self._clock() - since > self._max_stall_s:
            raise EngineFailed(f"The engine has made no progress for {self._clock() - since:.0f} s.")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._is_closed or self._failure or self._running or len(self._queue) or self._rows.num_turns
                    )
                )
                if self._is_closed or self._failure:
                    return
            self._turn()

    def _turn(self) -> None:
        """Begins a turn and reads one: on a device that runs ahead the one before, so that it never waits for us."""
        try:
            for sequence in self._expire():
                self._notify(sequence, TimeoutError("The image took longer than it may, and was given up."))
            if self._would_give_way():
                while self._rows.num_turns:  # so that all that was begun of it is known
                    self._read()
            is_drawing = self._admit()
            if is_drawing:
                self._rows.advance(self._next_codes())
            if self._rows.num_turns > (is_drawing and self._rows.runs_ahead):
                self._read()
        except Exception as error:
            logger.exception("the engine failed")
            with self._changed:
                self._failure = error
            why = str(error) if isinstance(error, NotFinite) else "A step of the engine failed."
            self._end_all(f"{why} The replica is being replaced.")

    def _read(self) -> None:
        """Reads the oldest turn, and tells who is to be told."""
        for sequence in self._collect(self._rows.read()):
            self._notify(sequence, sequence.codes)

    def _expire(self) -> list[Sequence]:
        """Frees the rows of sequences that were given up or have expired; returns the expired ones."""
        with self._changed:
            now = self._clock()
            expired = [one for one in (*self._queue, *self._running) if now > one.expires and not one.is_over]
            for sequence in expired:
                if sequence not in self._running:
                    self._queue.remove(sequence)
                sequence.is_over = True
            self._free_rows()
            return expired

    def _admit(self) -> bool:
        """Fills the rows with sequences whose turn it is; whether there is anything to draw."""
        with self._changed:
            while (sequence := self._queue.next()) and self._make_room(sequence):
                self._queue.start()
                self._rows.join(sequence)
                self._running.append(sequence)
            self._advancing_since = self._clock() if self._running else None
            return self._rows.num_taken > 0

    def _would_give_way(self) -> bool:
        """Whether batch work has rows for which somebody waits, and these are enough for him."""
        with self._changed:
            sequence = self._queue.next()
            if sequence is None or sequence.is_batch or self._rows.has_room(sequence):
                return False
            free, batch = self._rows.max_rows - self._rows.num_taken, self._batch_with_rows()
            return bool(batch) and free + sum(len(one.conditions) for one in batch) >= len(sequence.conditions)

    def _make_room(self, sequence: Sequence) -> bool:
        """Whether there is room for the sequence, or batch work could give it some; what is least far does so first."""
        while self._rows.num_turns == 0 and self._would_give_way():
            leaver = min(self._batch_with_rows(), key=lambda one: one.position)
            self._rows.park(leaver)
            self._running.remove(leaver)
            self._queue.give_way(leaver)
            self._times_given_way += 1
        return self._rows.has_room(sequence)

    def _batch_with_rows(self) -> list[Sequence]:
        return [one for one in self._running if one.is_batch and one.slot is not None and not one.is_over]

    def _next_codes(self) -> int:
        """`codes_per_advance`; the first so many after a pause in turns of 1, 1, 2, 4, …, so that rows end as ever."""
        done, whole = self._codes_since_pause, self._codes_per_advance
        codes = whole if done >= whole else min(max(done, 1), whole - done)
        self._codes_since_pause += codes
        return codes

    def _collect(self, drawn: int) -> list[Sequence]:
        """Who is to be told of its codes after a turn; sequences that are done leave."""
        with self._changed:
            self._advancing_since = None
            self._codes_drawn += drawn
            news = []
            for sequence in self._running:
                if sequence.is_over:
                    continue
                before = sequence.stops
                sequence.stops = tuple(stop for stop in before if stop > sequence.position)
                sequence.is_over = sequence.position == sequence.codes.size
                if sequence.is_over or sequence.stops != before:
                    news.append(sequence)
            self._free_rows()
            return news

    def _free_rows(self) -> None:
        for sequence in self._running:
            if sequence.is_over:
                self._rows.leave(sequence)
                self._queue.end(sequence)
        self._running = [sequence for sequence in self._running if not sequence.is_over]
        if not self._running and not len(self._queue):
            self._codes_since_pause = 0

    def _end_all(self, reason: str) -> None:
        with self._changed:
            ended = [sequence for sequence in (*self._running, *self._queue) if not sequence.is_over]
            self._queue, self._running, self._advancing_since = Waiting(), [], None
            for sequence in ended:
                sequence.is_over = True
        for sequence in ended:
            self._notify(sequence, EngineFailed(reason))

    def _notify(self, sequence: Sequence, event: Any) -> None:
        try:
            sequence.listener(event)
        except Exception:  # whoever listened is gone, such as an event loop that was closed; the others must not suffer
            logger.exception("a listener of the engine failed; its sequence is given up")
            self.cancel(sequence)
