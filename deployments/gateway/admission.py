"""Who is let in: counts the images that are asked for and not drawn yet, and tells who must wait how long."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.errors import Overloaded, ShuttingDown

MAX_RETRY_AFTER_S = 30  # longer, and clients do better to ask again; far longer, and OpenAI's give up at once
WEIGHT_OF_LATEST = 0.3


class Admission:
    """A counter of pending images with an upper bound, and the pace at which they are drawn."""

    def __init__(self, max_pending_images: int, clock: Callable[[], float] = time.monotonic):
        self._max_pending_images = max_pending_images
        self._clock = clock
        self.seconds_an_image = 1.0  # a first guess, corrected by every request that ends well
        self._drained_at = 0.0  # when the latest request ended well, or work began after a pause
        self.pending_images = 0
        self.is_closed = False

    @contextmanager
    def admit(self, num_images: int) -> Iterator[None]:
        """Holds a place for so many images.

        Raises:
          ShuttingDown: it is closed.
          Overloaded: there is no room; says when there should be.
        """
        if self.is_closed:
            raise ShuttingDown("The service is being stopped. Try again later, or elsewhere.")
        excess = self.pending_images + num_images - self._max_pending_images
        if excess > 0:
            retry_after_s = whole_seconds(excess * self.seconds_an_image)
            raise Overloaded(
                f"The service is busy: {self.pending_images} images are waiting to be drawn, and "
                f"{self._max_pending_images} may; there is room for {num_images - excess}, and this request wants "
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

    def close(self) -> None:
        """Lets nobody in from now on; who is in keeps his place."""
        self.is_closed = True


def whole_seconds(wait_s: float) -> int:
    """A wait as `Retry-After` says it: rounded up, at least 1, at most `MAX_RETRY_AFTER_S`."""
    return min(max(math.ceil(wait_s), 1), MAX_RETRY_AFTER_S)
