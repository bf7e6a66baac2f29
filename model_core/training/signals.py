"""Being told to stop while something must not be broken off."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

_asked: list[Callable[[], bool]] = []  # by the outermost `signals_kept`


@contextlib.contextmanager
def signals_kept() -> Iterator[Callable[[], bool]]:
    """Turns SIGTERM and SIGINT into a question, whether one has come; a second one is obeyed at once.

    Inside another, it gives the other's question: what came before the inner one began is not lost.

    An exception raised by a handler comes up wherever Python is at that moment. JAX calls Python from C++ while it
    traces, and gives what is raised there other names: KeyboardInterrupt comes back as ValueError.

    Signals are left as they are outside the main thread, which alone may take them (Ray Train runs its workers so).
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    if _asked:
        yield _asked[0]
        return
    received: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        received.append(number)
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    _asked.append(lambda: bool(received))
    try:
        yield _asked[0]
    finally:
        _asked.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
