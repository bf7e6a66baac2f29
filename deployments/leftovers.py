"""Ends what Ray leaves behind where the process that started it is gone. Also a program, which waits for that.

Ray's agents notice within seconds that they are alone, and then try for a minute to tell it to a cluster that is gone
as well. A process is known by the folder of its session, whose name ends with the id of the process that started it:
it is in the command line, or, where a process has given itself another title, among the files that it has open.
"""

import contextlib
import re
import subprocess
import sys
import time

import psutil

GRACE_S = 3.0  # in which Ray's processes end by themselves
TIMEOUT_S = 8.0
POLL_S = 0.2


def watch(pid: int) -> subprocess.Popen:
    """Starts the program beside the process `pid`, which is this one: it acts once its standard input ends."""
    # In a session of its own, so that it outlives what a terminal sends to all that were started from it.
    return subprocess.Popen([sys.executable, __file__, str(pid)], stdin=subprocess.PIPE, start_new_session=True)


def end_leftovers(pid: int, grace_s: float = GRACE_S, timeout_s: float = TIMEOUT_S) -> list[int]:
    """Ends Ray's processes of the sessions that `pid` started; gives those that are still there after the timeout.

    Args:
      grace_s: how long they may take to end by themselves; then they are killed.
    """
    began = time.monotonic()
    left = find_leftovers(pid)
    while left and time.monotonic() < began + timeout_s:
        if time.monotonic() >= began + grace_s:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        time.sleep(POLL_S)  # between looks, until the deadline
        left = find_leftovers(pid)
    return [process.pid for process in left]


def find_leftovers(pid: int) -> list[psutil.Process]:
    """Ray's processes of the sessions that `pid` started; never `pid` itself."""
    session = re.compile(rf"/session_[^/\s]+_{pid}(/|\s|$)")
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # gone meanwhile, or another user's
            if process.pid == pid or process.status() == psutil.STATUS_ZOMBIE:
                continue
            named = any(map(session.search, process.cmdline()))
            if named or any(session.search(file.path) for file in process.open_files()):
                found.append(process)
    return found


def main() -> None:
    """Waits for the end of the standard input, then for that of Ray's processes."""
    sys.stdin.buffer.read()
    end_leftovers(int(sys.argv[1]))


if __name__ == "__main__":
    main()
