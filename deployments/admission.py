"""Who is let in: counts the images that are asked for and not drawn yet, and tells who must wait how long.

Knows nothing of requests but their number of images.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.errors import Overloaded

MAX_RETRY_AFTER_S = 120  # OpenAI's clients give up at once where more is asked for
WEIGHT_OF_LATEST = 0.3


class Admission:
    """A counter of pending images with an upper bound.

    Args:
      max_pending_images: what is let in at most.
      clock: seconds; replaced in tests.
    """

    def __init__(self, max_pending_images: int, clock: Callable[[], float] = time.monotonic):
        self._max_pending_images = max_pending_images
        self._clock = clock
        self._seconds_an_image = 1.0  # a first guess, corrected by every request that ends well
        self.pending_images = 0

    @contextmanager
    def admit(self, num_images: int) -> Iterator[None]:
        """Holds a place for so many images.

        Raises:
          Overloaded: there is no room; says when there should be.
        """
        if self.pending_images + num_images > self._max_pending_images:
            wait_s = math.ceil(self.pending_images * self._seconds_an_image)
            raise Overloaded(
                f"The service is busy: {self.pending_images} images are waiting to be drawn, "
                f"at most {self._max_pending_images} may. Try again later.",
                retry_after_s=min(max(wait_s, 1), MAX_RETRY_AFTER_S),
            )
        self.pending_images += num_images
        shared, started = self.pending_images, self._clock()
        try:
            yield
            self._learn((self._clock() - started) / shared)
        finally:
            self.pending_images -= num_images

    def _learn(self, seconds_an_image: float) -> None:
        self._seconds_an_image += WEIGHT_OF_LATEST * (seconds_an_image - self._seconds_an_image)
