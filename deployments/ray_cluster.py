"""Ray on this machine, for one service: what it needs, its start, made again where it was too slow, and its end.

Ray is imported when it starts, with its environment in place.
"""

import contextlib
import functools
import logging
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from deployments.errors import ServiceStartError
from deployments.leftovers import end_leftovers, watch
from deployments.needs import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE, ray_folder, token_problem

MIN_CPUS = 2  # what the laptop's settings reserve; only a number to Ray, so that a machine with one core works too
TRIES = 3
TIME_WORDS = ("timed out", "timeout", "time out", "deadline", "not available after", "health check", "heartbeat")

T = TypeVar("T")


def start_ray() -> None:
    """Starts Ray's processes on this machine. What Ray raises is not wrapped."""
    import ray

    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with _groups_of_their_own():
            ray.init(
                address="local",
                num_cpus=max(MIN_CPUS, os.cpu_count() or 1),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    finally:
        # Ray's own handler ends its processes at once and exits, which leaves nothing to stop in order.
        signal.signal(signal.SIGTERM, on_sigterm)


def stop_ray() -> None:
    """Ends what `start_ray` has started, a start that failed in the middle included, and waits until it is gone."""
    import ray

    ray.shutdown()
    end_leftovers(os.getpid())


@contextlib.contextmanager
def ending_with_this_process() -> Iterator[None]:
    """Ray's processes end with this one, even if it is killed; to be entered before they are started."""
    watcher = watch(os.getpid())
    try:
        yield
    finally:
        watcher.kill()
        watcher.communicate()


@contextlib.contextmanager
def connected(address: str | None, report: Callable[[str], object]) -> Iterator[None]:
    """Connects to a cluster, or without an address starts one on this machine that ends with the block."""
    import ray

    with ending_with_this_process():
        try:
            if address is None:
                prepare_token(report)
                started_in_time(start_ray, stop_ray, report)
            else:
                ray.init(address=address, log_to_driver=False)
            yield
        finally:
            stop_ray() if address is None else ray.shutdown()


def started_in_time(start: Callable[[], T], undo: Callable[[], object], report: Callable[[str], object]) -> T:
    """Gives what `start` does, called again where it failed for want of time only.

    Args:
      undo: called after a try that failed, before the next one.
      report: told of each further try.

    Raises:
      ServiceStartError: the last try failed; says why, whether the machine is busy, and where the logs are.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            return start()
        except ServiceStartError:
            raise
        except Exception as error:  # Ray raises bare ones
            reason, needs_time = _reason(error), is_fault_of_time(error)
            if needs_time and tries_left:
                report(" ".join(filter(None, ("Ray did not start in time, trying again:", reason, said_of_load()))))
                undo()
                continue
            times = f", {TRIES} times" if needs_time else ""
            said = (f"Ray did not start{times}:", reason, said_of_load(advise=True), said_of_logs())
            raise ServiceStartError(" ".join(filter(None, said))) from error
    raise AssertionError("unreachable")


def is_fault_of_time(error: Exception) -> bool:
    """True where the same may well go right the next time: Ray's processes were too slow for its limits, or died."""
    from ray.exceptions import AuthenticationError, RayError, RuntimeEnvSetupError

    if isinstance(error, AuthenticationError | RuntimeEnvSetupError):
        return False
    return isinstance(error, TimeoutError | RayError) or any(word in str(error).lower() for word in TIME_WORDS)


def said_of_load(*, advise: bool = False) -> str:
    """That the machine is busy, as a sentence, with a remedy in a second one; "" where it is not."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= 1.5 * cores:
        return ""
    busy = f"The machine is busy: {load:.0f} programs for {cores} cores."
    return f"{busy} Start it again when less else runs." if advise else busy


def said_of_logs() -> str:
    """Where the logs of this process's latest session of Ray are, as a sentence; "" where it came to none."""
    folder = session_logs()
    return f"The logs are in {folder}." if folder else ""


def session_logs() -> Path | None:
    """The folder of the logs of the latest session that this process has begun."""
    found = sorted(ray_folder().glob(f"session_*_{os.getpid()}/logs"))
    return found[-1] if found else None


def prepare_token(report: Callable[[str], object]) -> None:
    """Sees to it that Ray has a token to ask its callers for; where none can be written, one for this run alone.

    Raises:
      ServiceStartError: a file was named that cannot be read.
    """
    if problem := token_problem():
        if TOKEN_FILE_VARIABLE in os.environ:
            raise ServiceStartError(problem)
        os.environ[TOKEN_VARIABLE] = secrets.token_hex(32)
        report(f"{problem} This run has a token of its own, and other programs cannot call it through handles.")


@contextlib.contextmanager
def _groups_of_their_own() -> Iterator[None]:
    """Ray's processes get process groups of their own.

    A terminal that is closed, or `timeout`, sends its signal to a whole group: to Ray's processes too, under requests
    that this one would still finish.
    """
    from ray._private import services

    plain = services.ConsolePopen
    services.ConsolePopen = functools.partial(plain, process_group=0)  # type: ignore[misc]  Ray has no setting for it
    try:
        yield
    finally:
        services.ConsolePopen = plain


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return reason if reason.endswith((".", "!")) else f"{reason}."
