"""Image files behind short-lived URLs: a folder with a file for each image, its name too long to guess.

The folder belongs to this alone. Files go when their time is up, or earlier, oldest first, where they would take more
room than they may. Gateways that share the folder share the URLs. Knows nothing of HTTP.
"""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

SUFFIXES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
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

    def put(self, file: bytes, file_format: str) -> str:
        """Keeps a file, `png`, `jpeg` or `webp`; returns its name."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sweep(len(file))
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

    def sweep(self, incoming_bytes: int = 0) -> None:
        """Removes what is too old, and then the oldest until there is room for so many bytes."""
        kept: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):  # another gateway was faster
                found = path.stat()
                kept.append((found.st_mtime, found.st_size, path))
        total = incoming_bytes + sum(size for _, size, _ in kept)
        for written, size, path in sorted(kept):
            if written + self.seconds > self._clock() and total <= self._max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
