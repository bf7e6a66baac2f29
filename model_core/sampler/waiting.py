"""Sequences that wait for rows, of two classes: what somebody waits for, and batch work, which takes what is left.

Of each class a `FairQueue` says who is next. Batch work that was under way and had to give way is the first of its
class, so that never more of it is begun than there is room for.
"""

from collections import deque
from collections.abc import Iterator

from model_core.sampler.fair_queue import FairQueue
from model_core.sampler.sequence import Sequence


class Waiting:
    """All sequences that have no rows."""

    def __init__(self) -> None:
        self._interactive: FairQueue[Sequence] = FairQueue()
        self._batch: FairQueue[Sequence] = FairQueue()
        self._gave_way: deque[Sequence] = deque()  # still counted as running by the queue of their class

    def __len__(self) -> int:
        return len(self._interactive) + self.num_batch

    def __iter__(self) -> Iterator[Sequence]:
        yield from (*self._interactive, *self._gave_way, *self._batch)

    @property
    def num_batch(self) -> int:
        """Of the class that goes last."""
        return len(self._batch) + len(self._gave_way)

    def add(self, sequence: Sequence) -> None:
        """Appends a new sequence to those of its request."""
        self._of(sequence).add(sequence.request_id, sequence)

    def next(self) -> Sequence | None:
        """The sequence whose turn it is, which stays; None where nobody waits."""
        if len(self._interactive):
            return self._interactive.next()
        return self._gave_way[0] if self._gave_way else self._batch.next()

    def start(self) -> Sequence:
        """Takes out the sequence that `next` names; it counts as running until `end`."""
        if len(self._interactive):
            return self._interactive.start()
        return self._gave_way.popleft() if self._gave_way else self._batch.start()

    def give_way(self, sequence: Sequence) -> None:
        """A running sequence of the batch class waits again."""
        self._gave_way.append(sequence)

    def end(self, sequence: Sequence) -> None:
        """A running sequence is done, or was given up."""
        self._of(sequence).end(sequence.request_id)

    def remove(self, sequence: Sequence) -> None:
        """Takes out a waiting sequence that was given up."""
        if sequence in self._gave_way:
            self._gave_way.remove(sequence)
            self.end(sequence)
        else:
            self._of(sequence).remove(sequence.request_id, sequence)

    def _of(self, sequence: Sequence) -> FairQueue[Sequence]:
        return self._batch if sequence.is_batch else self._interactive
