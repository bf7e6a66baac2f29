"""Sequences through an engine, all waiting from the start or arriving over time, and when each got how far."""

import threading
import time
from collections.abc import Sequence as Values
from dataclasses import dataclass, field

import numpy as np

from model_core.errors import EngineFailed
from model_core.families.conditions import FREE
from model_core.sampler.engine import Engine
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import Sequence

CODES_PER_ADVANCE = 16  # as the engine's default
TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A sequence and how it comes and goes.

    Attributes:
      arrival_s: when it is sent to the engine that runs; None has it wait there when the engine begins.
      leaves_at: given up by its client when it has so many codes; None stays to the end.
    """

    sequence: Sequence
    arrival_s: float | None = None
    leaves_at: int | None = None


@dataclass(slots=True)
class Progress:
    """What the client of a sequence saw.

    Attributes:
      arrived: when it was to arrive, in seconds of a clock that all share.
      news: times and how many codes were there.
    """

    visit: Visit
    arrived: float = 0.0
    news: list[tuple[float, int]] = field(default_factory=list)

    @property
    def num_given(self) -> int:
        """Codes that it brought."""
        fixed = self.visit.sequence.fixed_codes
        return 0 if fixed is None else int((fixed != FREE).sum())

    def first_row_s(self) -> float:
        """From its arrival until codes were there that it did not bring."""
        return self.news[0][0] - self.arrived

    def latency_s(self) -> float:
        """From its arrival to its end."""
        return self.news[-1][0] - self.arrived


def visit_all(rows: Rows, visits: Values[Visit]) -> list[Progress]:
    """Sends all sequences through an engine of their own and waits for the last.

    Args:
      visits: in the order in which they come. Times count from when one was to arrive, even if it was sent late.

    Raises:
      EngineFailed: a step failed, or the last one did not end in an hour.
    """
    return _Run(rows, visits).progress()


class _Run:
    def __init__(self, rows: Rows, visits: Values[Visit]):
        self._engine = Engine(rows, codes_per_advance=CODES_PER_ADVANCE)
        self._stops = tuple(range(CODES_PER_ADVANCE, rows.grid.num_codes + 1, CODES_PER_ADVANCE))
        self._progress = [Progress(visit) for visit in visits]
        self._left = len(visits)
        self._failure: Exception | None = None
        self._is_over = threading.Event()

    def progress(self) -> list[Progress]:
        try:
            waiting = [one for one in self._progress if one.visit.arrival_s is None]
            for one in waiting:
                self._submit(one)
            self._engine.start()
            began = time.perf_counter()
            for one in self._progress:
                one.arrived = began + (one.visit.arrival_s or 0.0)
            for one in self._progress[len(waiting) :]:
                time.sleep(max(0.0, one.arrived - time.perf_counter()))  # arrivals follow the clock
                self._submit(one)
            if not self._is_over.wait(TIMEOUT_S) or self._failure:
                raise EngineFailed("The engine did not end its sequences.") from self._failure
        finally:
            self._engine.close()
        return self._progress

    def _submit(self, one: Progress) -> None:
        self._engine.submit(
            one.visit.sequence, lambda event: self._listen(one, event), request_id=str(id(one)), stops=self._stops
        )

    def _listen(self, one: Progress, event: np.ndarray | Exception) -> None:
        if isinstance(event, Exception):
            self._failure = self._failure or event
            self._is_over.set()
            return
        num_codes = int((event != FREE).sum())
        one.news.append((time.perf_counter(), num_codes))
        gives_up = one.visit.leaves_at is not None and num_codes >= one.visit.leaves_at
        if gives_up:
            self._engine.cancel(one.visit.sequence)
        if gives_up or num_codes == event.size:
            self._left -= 1
            if not self._left:
                self._is_over.set()
