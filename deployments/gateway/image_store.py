"""Image files behind short-lived URLs: a folder with a file for each image, its name too long to guess.

Files go when their time is up, or earlier, oldest first, where they would take more room than they may, or than there
is. What else is in the folder is left alone. Gateways that share the folder share the URLs, and notice what the others
have put there when they sweep it, once a minute.
"""

import contextlib
import errno
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from deployments.errors import UrlsUnavailable
from deployments.telemetry import degraded

SUFFIXES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
SWEEP_PERIOD_S = 60.0
ROOM = 0.1  # of all bytes, made at once where they run out, for listing the folder takes time
PROBE = bytes(4096)
BY_PRODUCT = "image_urls"  # its name where it fails
_NAME = re.compile(r"[A-Za-z0-9_-]{43}\.(png|jpeg|webp)", re.ASCII)
_OURS = re.compile(rf"({_NAME.pattern}|[A-Za-z0-9_-]{{43}}\.probe)(\.part)?", re.ASCII)
_FULL = (errno.ENOSPC, errno.EDQUOT)


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
        """Keeps a file, `png`, `jpeg` or `webp`; returns its name.

        Raises:
          UrlsUnavailable: it cannot be kept; nothing of it stays.
        """
        return self._keep(file, file_format).name

    def check(self) -> None:
        """Finds out whether a file could be kept just now, by keeping a small one for a moment.

        Raises:
          UrlsUnavailable: it could not.
        """
        probe = self._keep(PROBE, "probe")
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)

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

    def _keep(self, file: bytes, suffix: str) -> Path:
        path = self.folder / f"{secrets.token_urlsafe(32)}.{suffix}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(len(file))
            try:
                self._write(path, file)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._sweep(len(file), is_full=True)
                self._write(path, file)
        except OSError as error:
            why = f"the files behind them cannot be kept ({error.strerror or type(error).__name__})"
            degraded.failed(BY_PRODUCT, why, str(error))
            raise UrlsUnavailable(
                f"There are no image URLs for the moment: {why}. Ask for response_format 'b64_json', or try later."
            ) from error
        degraded.works(BY_PRODUCT)
        return path

    def _write(self, path: Path, file: bytes) -> None:
        part = path.with_name(f"{path.name}.part")
        try:
            part.write_bytes(file)
            now = self._clock()
            os.utime(part, (now, now))
            part.rename(path)  # so that nobody sees half of it
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def _make_room(self, incoming_bytes: int) -> None:
        with self._lock:
            self._total_bytes += incoming_bytes
            if self._clock() >= self._next_sweep or self._total_bytes > self._max_bytes:
                self._total_bytes = incoming_bytes + self._sweep(incoming_bytes)
                self._next_sweep = self._clock() + min(self.seconds, SWEEP_PERIOD_S)

    def _sweep(self, incoming_bytes: int, is_full: bool = False) -> int:
        """Removes what is too old, and the oldest where there is no room for so much; gives the bytes that stay.

        Args:
          is_full: the disk has no room for what is there and so much more, whatever the settings allow.
        """
        kept: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name):
                with contextlib.suppress(OSError):  # another gateway was faster
                    found = path.stat()
                    kept.append((found.st_mtime, found.st_size, path))
        total = sum(size for _, size, _ in kept)
        most = min(total, self._max_bytes) if is_full else self._max_bytes
        allowed = most if total + incoming_bytes <= most else most * (1 - ROOM)
        for written, size, path in sorted(kept):
            if written + self.seconds > self._clock() and total + incoming_bytes <= allowed:
                break
            with contextlib.suppress(OSError):  # what cannot be removed still counts
                path.unlink(missing_ok=True)
                total -= size
        return total
