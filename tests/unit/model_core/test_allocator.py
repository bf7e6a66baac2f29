"""The allocator keeps memory once it was told to, in this process or in one that was started so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_core import allocator

FRESH_PAGES = """
import resource, sys
from model_core import allocator
if sys.argv[1] == "told":
    assert allocator.keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
piece = b"x" * (64 << 20)
del piece
before = faults()
piece = b"x" * (64 << 20)
print(faults() - before)
"""
PAGES = (64 << 20) // 4096


def fresh_pages(how: str, **environment: str) -> int:
    """How many pages a new process is given for a piece of memory like one that it has freed before."""
    own = {name: value for name, value in os.environ.items() if name not in allocator._USERS}
    command = [sys.executable, "-c", FRESH_PAGES, how]
    return int(subprocess.run(command, env=own | environment, check=True, capture_output=True, timeout=60).stdout)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in allocator._USERS:
        monkeypatch.delenv(name, raising=False)


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def is_countable() -> bool:
    """Whether pages are small unless asked for, and the C library is one that can be told."""
    is_always_huge = HUGE_PAGES.exists() and "[always]" in HUGE_PAGES.read_text()
    return sys.platform == "linux" and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "") and not is_always_huge


@pytest.mark.skipif(not is_countable(), reason="pages cannot be counted here")
def test_freed_memory_is_used_again_where_it_was_asked_for():
    assert fresh_pages("plain") > PAGES / 2  # else there would be nothing to ask for
    assert fresh_pages("told") < PAGES / 100
    assert fresh_pages("plain", **allocator.environment()) < PAGES / 100


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX"])
def test_settings_of_the_user_stay(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "1")
    assert allocator.environment() == {}
    assert not allocator.keep_memory()
