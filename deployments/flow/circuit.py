"""A circuit breaker: calls to what fails every time are not made, but for one now and then that tries again."""

import time
from collections.abc import Callable


class Circuit:
    """Closed it lets calls through, open it does not.

    Args:
      max_failures: failures in a row that open it.
      open_s: seconds that it stays open; then one call may try, and its outcome decides.
    """

    def __init__(self, max_failures: int = 3, open_s: float = 30.0, clock: Callable[[], float] = time.monotonic):
        self._max_failures = max_failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._closed_from = 0.0

    def allows(self) -> bool:
        """True if the call should be made. One that is let through an open circuit keeps it open for others."""
        if self._failures < self._max_failures:
            return True
        if self._clock() < self._closed_from:
            return False
        self._closed_from = self._clock() + self._open_s
        return True

    def succeeded(self) -> None:
        """To be called after a call that worked."""
        self._failures = 0

    def failed(self) -> None:
        """To be called after one that did not."""
        self._failures += 1
        if self._failures >= self._max_failures:
            self._closed_from = self._clock() + self._open_s
