"""Image files behind short-lived URLs: a folder with a file for each image, its name too long to guess.

The folder belongs to this alone. Files go when their time is up, or earlier, oldest first, where they would take more
room than they may. Gateways that share the folder share the URLs, and notice what the others have put there when they
sweep it, once a minute.
"""

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

SUFFIXES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
SWEEP_PERIOD_S = 60.0
ROOM = 0.1  # of all bytes, made at once where they run out, for listing the folder takes time
_NAME = re.compile(r"[A-Za-z0-9_-]{43}\.(png|jpeg|webp)", re.ASCII)


class ImageStore:
    """Keeps image files for a while.

    Args:
      folder: made where it is missing, for this user only.
      seconds: how long a file is kept.
      max_bytes: how much all of them may take.
      clock: seconds since 1970, as files' times have; replaced in tests.
    """

    def __init__(self, folder: Path, seconds: float, max_bytes: int, clock: Callable[[], float] = time.time):
        self.folder = folder
        self.seconds = seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()  # guards the two below
        self._total_bytes = 0
        self._next_sweep = 0.0

    def put(self, file: bytes, file_format: str) -> str:
        """Keeps a file, `png`, `jpeg` or `webp`; returns its name."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_room(len(file))
        name = f"{secrets.token_urlsafe(32)}.{file_format}"
        part = self.folder / f"{name}.part"
        part.write_bytes(file)
        now = self._clock()
        os.utime(part, (now, now))
        part.rename(self.folder / name)  # so that nobody sees half of it
        return name

    def get(self, name: str) -> bytes | None:
        """The file of that name; None where there is none, or its time is up."""
        if not _NAME.fullmatch(name):
            return None
        path = self.folder / name
        try:
            if path.stat().st_mtime + self.seconds <= self._clock():
                return None
            return path.read_bytes()
        except OSError:
            return None

    def _make_room(self, incoming_bytes: int) -> None:
        with self._lock:
            self._total_bytes += incoming_bytes
            if self._clock() >= self._next_sweep or self._total_bytes > self._max_bytes:
                self._total_bytes = incoming_bytes + self._sweep(incoming_bytes)
                self._next_sweep = self._clock() + min(self.seconds, SWEEP_PERIOD_S)

    def _sweep(self, incoming_bytes: int) -> int:
        """Removes what is too old, and the oldest where there is no room for so much; gives the bytes that stay."""
        kept: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):  # another gateway was faster
                found = path.stat()
                kept.append((found.st_mtime, found.st_size, path))
        total = sum(size for _, size, _ in kept)
        is_full = total + incoming_bytes > self._max_bytes
        allowed = self._max_bytes * (1 - ROOM) if is_full else self._max_bytes
        for written, size, path in sorted(kept):
            if written + self.seconds > self._clock() and total + incoming_bytes <= allowed:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total
