"""Who is let in: counts the images that are asked for and not drawn yet, and tells who must wait how long."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from deployments.errors import Overloaded, ShuttingDown

MAX_RETRY_AFTER_S = 30  # longer, and clients do better to ask again; far longer, and OpenAI's give up at once
WEIGHT_OF_LATEST = 0.3


class Admission:
    """Counters of pending images with upper bounds, one for batch work and one for all else, and the pace of each.

    Beside them one for each refiner, of the steps that it has to make.

    Attributes:
      is_closed: nobody is let in any more.

    Args:
      max_pending_steps: by model.
    """

    def __init__(
        self,
        max_pending_images: int,
        max_pending_batch_images: int,
        clock: Callable[[], float] = time.monotonic,
        max_pending_steps: Mapping[str, int] = MappingProxyType({}),
    ):
        self._interactive = _Line("images are waiting to be drawn", max_pending_images, clock)
        self._batch = _Line("batch images are waiting to be drawn", max_pending_batch_images, clock)
        waiting = "steps are waiting to be made"
        self._refiners = {model: _Line(waiting, steps, clock) for model, steps in max_pending_steps.items()}
        self.is_closed = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is pending."""
        return not any(line.pending for line in (self._interactive, self._batch, *self._refiners.values()))

    @property
    def pending_images(self) -> int:
        """Of both."""
        return self._interactive.pending + self._batch.pending

    @property
    def seconds_an_image(self) -> float:
        """The pace of late, of what is not batch work."""
        return self._interactive.seconds_each

    @contextmanager
    def admit(self, num_images: int, is_batch: bool = False) -> Iterator[None]:
        """Holds a place for so many images.

        Raises:
          ShuttingDown: it is closed.
          Overloaded: there is no room; says when there should be.
        """
        self._require_open()
        with (self._batch if is_batch else self._interactive).place(num_images):
            yield

    @contextmanager
    def admit_steps(self, model: str, num_steps: int) -> Iterator[None]:
        """Holds a place for so many steps of a model's refiner; raises as `admit`."""
        self._require_open()
        with self._refiners[model].place(num_steps):
            yield

    def _require_open(self) -> None:
        if self.is_closed:
            raise ShuttingDown("The service is being stopped. Try again later, or elsewhere.")

    def limit(self, max_pending_images: int, max_pending_batch_images: int) -> None:
        """Sets other bounds; who is in stays."""
        self._interactive.max_pending = max_pending_images
        self._batch.max_pending = max_pending_batch_images

    def close(self) -> None:
        """Lets nobody in from now on; who is in keeps his place."""
        self.is_closed = True


class _Line:
    """One counter."""

    def __init__(self, waiting: str, max_pending: int, clock: Callable[[], float]):
        self._waiting = waiting
        self.max_pending = max_pending
        self._clock = clock
        self.seconds_each = 1.0  # a first guess, corrected by every request that ends well
        self._drained_at = 0.0  # when the latest request ended well, or work began after a pause
        self.pending = 0

    @contextmanager
    def place(self, count: int) -> Iterator[None]:
        excess = self.pending + count - self.max_pending
        if excess > 0:
            retry_after_s = whole_seconds(excess * self.seconds_each)
            room = max(0, count - excess)
            raise Overloaded(
                f"The service is busy: {self.pending} {self._waiting}, and {self.max_pending} may; there is room for "
                f"{room}, and this request wants {count}. Try again in {retry_after_s} s.",
                retry_after_s,
            )
        if self.pending == 0:
            self._drained_at = self._clock()
        self.pending += count
        try:
            yield
            began, self._drained_at = self._drained_at, self._clock()
            latest = (self._drained_at - began) / count
            self.seconds_each += WEIGHT_OF_LATEST * (latest - self.seconds_each)
        finally:
            self.pending -= count


def whole_seconds(wait_s: float) -> int:
    """A wait as `Retry-After` says it: rounded up, at least 1, at most `MAX_RETRY_AFTER_S`."""
    return min(max(math.ceil(wait_s), 1), MAX_RETRY_AFTER_S)
