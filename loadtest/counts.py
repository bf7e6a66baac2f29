"""What locust does not count by itself: images, refusals, replies by status; gathered from all workers."""

from collections import Counter
from typing import Any

from locust import events

SHARED = "dalle-serve"


class Counts:
    """What the run has seen so far.

    Attributes:
      statuses: replies by HTTP status; 0 where none came.
      caches: replies by how the service says it got their images: `hit`, `joined`, `miss`.
    """

    def __init__(self) -> None:
        self.images = 0
        self.statuses: Counter[int] = Counter()
        self.caches: Counter[str] = Counter()

    @property
    def refusals(self) -> int:
        """Replies that said to come back later."""
        return self.statuses[429]

    def add(self, other: dict[str, Any]) -> None:
        """Adds what another process has seen."""
        self.images += other["images"]
        self.statuses.update({int(status): count for status, count in other["statuses"].items()})
        self.caches.update(other["caches"])

    def take(self) -> dict[str, Any]:
        """What was seen since the last time, to be sent to another process."""
        taken = {"images": self.images, "statuses": dict(self.statuses), "caches": dict(self.caches)}
        self.clear()
        return taken

    def clear(self) -> None:
        """Begins again."""
        self.images = 0
        self.statuses.clear()
        self.caches.clear()


counts = Counts()


@events.report_to_master.add_listener
def send(client_id: str, data: dict[str, Any]) -> None:
    """A worker hands on what it has seen."""
    data[SHARED] = counts.take()


@events.worker_report.add_listener
def receive(client_id: str, data: dict[str, Any]) -> None:
    """The master adds up what its workers have seen."""
    counts.add(data[SHARED])
