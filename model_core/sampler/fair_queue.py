"""Who is next: waiting sequences of several requests, served so that no request starves another.

The policy: a free place goes to the request that has the fewest sequences running, and among equals to the one that
has waited longest since one of its own sequences began or ended, or since it came. Within a request, first come, first
served. So a request of one image gets the next place that becomes free, however many images others have waiting.
"""

from collections import Counter, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Sequences waiting, by the request that they belong to."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Item]] = {}  # requests in the order of their turns; none is empty
        self._running: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[Item]:
        return (sequence for sequences in self._waiting.values() for sequence in sequences)

    def add(self, request_id: str, sequence: Item) -> None:
        """Appends a sequence to its request's."""
        self._waiting.setdefault(request_id, deque()).append(sequence)

    def next(self) -> Item | None:
        """The sequence whose turn it is, which stays in the queue; None where nobody waits."""
        return self._waiting[self._next_request()][0] if self._waiting else None

    def start(self) -> Item:
        """Takes out the sequence that `next` names, and counts it as running until `end`."""
        request_id = self._next_request()
        sequences = self._waiting.pop(request_id)
        sequence = sequences.popleft()
        if sequences:
            self._waiting[request_id] = sequences  # now the last in turn
        self._running[request_id] += 1
        return sequence

    def end(self, request_id: str) -> None:
        """A running sequence of the request is done, or was given up."""
        self._running[request_id] -= 1
        if not self._running[request_id]:
            del self._running[request_id]
        if sequences := self._waiting.pop(request_id, None):
            self._waiting[request_id] = sequences  # now the last in turn

    def remove(self, request_id: str, sequence: Item) -> None:
        """Takes out a waiting sequence that was given up."""
        self._waiting[request_id].remove(sequence)
        if not self._waiting[request_id]:
            del self._waiting[request_id]

    def _next_request(self) -> str:
        return min(self._waiting, key=lambda request_id: self._running[request_id])
