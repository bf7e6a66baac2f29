"""A file of the operator's that is read again when it changes, so that keys and rules change without a restart."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from model_core.errors import DalleServeError

logger = logging.getLogger("ray.serve")

CHECK_EVERY_S = 1.0
Content = TypeVar("Content")


class WatchedFile(Generic[Content]):
    """What a file says, as of a second ago at most.

    A file that cannot be read any more, or no longer makes sense, changes nothing: the last good content stays, and the
    log says why.

    Args:
      read: makes content of its text; raises `DalleServeError` where it cannot.

    Raises:
      DalleServeError: it cannot be read, or makes no sense, to begin with.
    """

    def __init__(
        self, path: str | os.PathLike, read: Callable[[str], Content], clock: Callable[[], float] = time.monotonic
    ):
        self._path = Path(path).expanduser()
        self._read = read
        self._clock = clock
        self._checked_at = clock()
        self._stamp = self._stamp_now()
        try:
            self._content = read(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise DalleServeError(f"{self._path} cannot be read: {error}.") from error

    @property
    def content(self) -> Content:
        """The latest good content."""
        now = self._clock()
        if now - self._checked_at >= CHECK_EVERY_S:
            self._checked_at = now
            self._refresh()
        return self._content

    def _refresh(self) -> None:
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._content = self._read(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, DalleServeError) as error:
            logger.error("%s cannot be used, what it said before still holds: %s", self._path, error)
        else:
            logger.info("read %s again", self._path)

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
