"""The processes of the service, found by the names that Ray gives them."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator


def descendants(root: int) -> dict[int, str]:
    """All processes that `root` started, and those that they did, with their command lines."""
    listing = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()]
    family, found = {root}, {}
    grown = True
    while grown:
        new = {int(pid): args for pid, parent, args in rows if int(parent) in family and int(pid) not in family}
        family |= set(new)
        found |= new
        grown = bool(new)
    return found


def alive(pids: Iterable[int]) -> list[int]:
    """Those of the processes that still are; what has ended and is not waited for does not count."""
    listing = subprocess.run(["ps", "-wweo", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return sorted({int(pid) for pid, state in rows if not state.startswith("Z")} & set(pids))


def replica(deployment: str) -> int:
    """The process of a deployment's only replica."""
    (pid,) = [pid for pid, args in descendants(os.getpid()).items() if args.startswith("ray::") and deployment in args]
    return pid


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Holds a process still, so that what is asked of it stays under way."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
