"""A file of the operator's that is read again when it changes, so that keys and rules change without a restart."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from deployments.telemetry import degraded
from model_core.errors import DalleServeError

logger = logging.getLogger("ray.serve")

CHECK_EVERY_S = 1.0
Content = TypeVar("Content")


class WatchedFile(Generic[Content]):
    """What a file says, as of a second ago at most.

    A file that cannot be read any more, or no longer makes sense, changes nothing: the last good content stays, and the
    log and the service's readiness say why. It is tried again until it can be read.

    Args:
      read: makes content of its text; raises `DalleServeError` where it cannot.

    Raises:
      DalleServeError: it cannot be read, or makes no sense, to begin with.
    """

    def __init__(
        self, path: str | os.PathLike, read: Callable[[str], Content], clock: Callable[[], float] = time.monotonic
    ):
        self._path = Path(path)
        self._read = read
        self._clock = clock
        self._checked_at = clock()
        try:
            self._path = self._path.expanduser()
            self._stamp = self._stamp_now()
            self._content = read(self._path.read_text(encoding="utf-8"))
        except DalleServeError:
            raise
        except Exception as error:  # what makes content of foreign text raises what no list foresees
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
        try:
            stamp = self._stamp_now()
            if stamp == self._stamp:
                return
            self._content = self._read(self._path.read_text(encoding="utf-8"))
        except Exception as error:
            self._stamp = None  # whatever it was before, it is to be read
            why = "it cannot be used, and what it said before still holds"
            degraded.failed(self._path.name, why, f"{self._path}: {error}")
        else:
            self._stamp = stamp
            degraded.works(self._path.name)
            logger.info("read %s again", self._path)

    def _stamp_now(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
