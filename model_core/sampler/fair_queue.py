"""Who is next: waiting jobs of several requests, served so that no request starves another.

The policy: a free place goes to the request that has the fewest jobs running, and among equals to the one that has
waited longest since one of its own jobs began or ended, or since it came. Within a request, first come, first served.
So a request of one image gets the next place that becomes free, however many images others have waiting.
Knows nothing of what jobs are.
"""

from collections import Counter, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Job = TypeVar("Job")


class FairQueue(Generic[Job]):
    """Jobs waiting, by the request that they belong to."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Job]] = {}  # requests in the order of their turns; none is empty
        self._running: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[Job]:
        return (job for jobs in self._waiting.values() for job in jobs)

    def add(self, request_id: str, job: Job) -> None:
        """Appends a job to its request's."""
        self._waiting.setdefault(request_id, deque()).append(job)

    def next(self) -> Job | None:
        """The job whose turn it is, which stays in the queue; None where nobody waits."""
        return self._waiting[self._next_request()][0] if self._waiting else None

    def start(self) -> Job:
        """Takes out the job that `next` names, and counts it as running until `end`."""
        request_id = self._next_request()
        jobs = self._waiting.pop(request_id)
        job = jobs.popleft()
        if jobs:
            self._waiting[request_id] = jobs  # now the last in turn
        self._running[request_id] += 1
        return job

    def end(self, request_id: str) -> None:
        """A running job of the request is done, or was given up."""
        self._running[request_id] -= 1
        if not self._running[request_id]:
            del self._running[request_id]
        if jobs := self._waiting.pop(request_id, None):
            self._waiting[request_id] = jobs  # now the last in turn

    def remove(self, request_id: str, job: Job) -> None:
        """Takes out a waiting job that was given up."""
        self._waiting[request_id].remove(job)
        if not self._waiting[request_id]:
            del self._waiting[request_id]

    def _next_request(self) -> str:
        return min(self._waiting, key=lambda request_id: self._running[request_id])
