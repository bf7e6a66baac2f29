"""The C library's allocator, told to keep memory that is asked for again and again.

A step of training takes hundreds of megabytes for a moment. glibc gives pieces of that size back to the system when
they are freed, and takes them as fresh pages, each of which the kernel must find and empty, at the next step. Kept
pages cost nothing of that; the price is that a process stays as large as it ever was.

All of it must be in one arena, the only one that grows without an end, and none of it in maps of its own: mallopt(3).
Huge pages, which make fresh ones cheap instead, can be asked for by the environment alone, before a process starts.
"""

import ctypes
import os

_OURS = {"mmap_max": 0, "trim_threshold": -1, "arena_max": 1}  # -1: never
_MALLOPT = {"mmap_max": -4, "trim_threshold": -1, "arena_max": -8}  # as malloc.h numbers them
_TUNABLES = "GLIBC_TUNABLES"
_USERS = (_TUNABLES, *(f"MALLOC_{name}" for name in ("ARENA_MAX", "MMAP_MAX_", "MMAP_THRESHOLD_", "TRIM_THRESHOLD_")))


def keep_memory() -> bool:
    """Tells the allocator of this process; the earlier the better, for threads that have an arena keep it.

    Returns:
      Whether it was told: not where the C library is another one, or the environment has settings of its user.
    """
    if not _may_be_told():
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(_MALLOPT[name], value) == 1 for name, value in _OURS.items())


def environment() -> dict[str, str]:
    """What tells the allocators of processes that are started with it; empty where `keep_memory` tells nothing."""
    values = {name: value % 2**64 for name, value in _OURS.items()}
    told = ":".join(f"glibc.malloc.{name}={value}" for name, value in values.items())
    return {_TUNABLES: told} if _may_be_told() else {}


def _may_be_told() -> bool:
    try:
        is_glibc = "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError):  # the name is unknown elsewhere
        return False
    return is_glibc and not any(name in os.environ for name in _USERS)
