"""Who is let in: counts the images that are asked for and not drawn yet, and tells who must wait how long."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.errors import Overloaded, ShuttingDown

MAX_RETRY_AFTER_S = 30  # longer, and clients do better to ask again; far longer, and OpenAI's give up at once
WEIGHT_OF_LATEST = 0.3


class Admission:
    """Counters of pending images with upper bounds, one for batch work and one for all else, and the pace of each.

    Attributes:
      is_closed: nobody is let in any more.
    """

    def __init__(
        self, max_pending_images: int, max_pending_batch_images: int, clock: Callable[[], float] = time.monotonic
    ):
        self._interactive = _Line("", max_pending_images, clock)
        self._batch = _Line("batch ", max_pending_batch_images, clock)
        self.is_closed = False

    @property
    def pending_images(self) -> int:
        """Of both."""
        return self._interactive.pending_images + self._batch.pending_images

    @property
    def seconds_an_image(self) -> float:
        """The pace of late, of what is not batch work."""
        return self._interactive.seconds_an_image

    @contextmanager
    def admit(self, num_images: int, is_batch: bool = False) -> Iterator[None]:
        """Holds a place for so many images.

        Raises:
          ShuttingDown: it is closed.
          Overloaded: there is no room; says when there should be.
        """
        if self.is_closed:
            raise ShuttingDown("The service is being stopped. Try again later, or elsewhere.")
        with (self._batch if is_batch else self._interactive).place(num_images):
            yield

    def limit(self, max_pending_images: int, max_pending_batch_images: int) -> None:
        """Sets other bounds; who is in stays."""
        self._interactive.max_pending_images = max_pending_images
        self._batch.max_pending_images = max_pending_batch_images

    def close(self) -> None:
        """Lets nobody in from now on; who is in keeps his place."""
        self.is_closed = True


class _Line:
    """One counter."""

    def __init__(self, kind: str, max_pending_images: int, clock: Callable[[], float]):
        self._kind = kind
        self.max_pending_images = max_pending_images
        self._clock = clock
        self.seconds_an_image = 1.0  # a first guess, corrected by every request that ends well
        self._drained_at = 0.0  # when the latest request ended well, or work began after a pause
        self.pending_images = 0

    @contextmanager
    def place(self, num_images: int) -> Iterator[None]:
        excess = self.pending_images + num_images - self.max_pending_images
        if excess > 0:
            retry_after_s = whole_seconds(excess * self.seconds_an_image)
            room = max(0, num_images - excess)
            raise Overloaded(
                f"The service is busy: {self.pending_images} {self._kind}images are waiting to be drawn, and "
                f"{self.max_pending_images} may; there is room for {room}, and this request wants "
                f"{num_images}. Try again in {retry_after_s} s.",
                retry_after_s,
            )
        if self.pending_images == 0:
            self._drained_at = self._clock()
        self.pending_images += num_images
        try:
            yield
            began, self._drained_at = self._drained_at, self._clock()
            latest = (self._drained_at - began) / num_images
            self.seconds_an_image += WEIGHT_OF_LATEST * (latest - self.seconds_an_image)
        finally:
            self.pending_images -= num_images


def whole_seconds(wait_s: float) -> int:
    """A wait as `Retry-After` says it: rounded up, at least 1, at most `MAX_RETRY_AFTER_S`."""
    return min(max(math.ceil(wait_s), 1), MAX_RETRY_AFTER_S)
