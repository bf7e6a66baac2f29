"""Counts what XLA compiles for one thread: after a warm-up it should be nothing.

A program that comes from the compilation cache on disk counts too, for it also makes its caller wait.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


class CompileCounter:
    """How many programs were compiled inside `watch`, by the thread that was there."""

    count = 0

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Counts until the end of the block."""
        thread = threading.get_ident()

        def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
            self.count += event == _EVENT and threading.get_ident() == thread

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
