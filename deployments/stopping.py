"""Being told to stop: by Ctrl-C, SIGTERM, or a terminal that is closed."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator

INSIST_AFTER_S = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_told: list[float] = []  # when this process was told to stop, since the outermost `stoppable` began


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """The first signal interrupts what goes on; later ones must not interrupt the cleaning up.

    What was ignored when the process was started stays so: SIGHUP under nohup, SIGINT in the background of a script.
    """

    def interrupt(number: int, frame: object) -> None:
        _told.append(time.monotonic())
        if len(_told) == 1:
            raise KeyboardInterrupt

    with _handling(interrupt):
        try:
            yield
        finally:
            _told.clear()


@contextlib.contextmanager
def finishing(say: Callable[[str], object]) -> Iterator[None]:
    """Inside `stoppable`: a signal is answered only, unless it is the third or comes seconds after the first.

    The same signal comes twice where a terminal or `timeout` sends it to all that it started, and a wrapper once more.

    Args:
      say: told, in words, what becomes of a signal.
    """

    def interrupt(number: int, frame: object) -> None:
        _told.append(time.monotonic())
        insists = len(_told) > 2 or _told[-1] - _told[0] >= INSIST_AFTER_S
        with contextlib.suppress(RuntimeError):  # raised where the same stream is being written to just now
            say(
                "told to stop again: what is being drawn is broken off"
                if insists
                else f"told to stop again: still finishing; a third time, or {INSIST_AFTER_S:g} s after the first, "
                "breaks off what is being drawn"
            )
        if insists:
            raise KeyboardInterrupt

    with _handling(interrupt):
        yield


@contextlib.contextmanager
def _handling(handler: Callable[[int, object], None]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = {number: earlier for number, earlier in before.items() if earlier != signal.SIG_IGN}
    for number in heard:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in heard.items():
            signal.signal(number, earlier)
