"""Previews of a picture while it is drawn: the rows so far, decoded beside the drawing, never in its way.

A preview is a kindness, not a promise. Each image has one at a time: rows that come while it is being decoded, or
before the reader has taken it, are skipped, and so is one that the decoder has no time for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Preview:
    """A picture that is still being drawn.

    Attributes:
      image_index: place of its seed among the request's.
      num_codes: drawn so far, whole rows of them; what lies below is made up.
      image: uint8 [height, width, 3], all of the picture.
    """

    image_index: int
    num_codes: int
    image: np.ndarray


class Previews:
    """Turns rows of codes into previews for one reader. A context: at its end what is under way is given up.

    `decode` turns codes int32 [N] into an image; a row has `columns` of them.
    """

    def __init__(self, decode: Callable[[np.ndarray], Awaitable[np.ndarray]], columns: int):
        self._decode = decode
        self._columns = columns
        self._ready: asyncio.Queue[Preview | None] = asyncio.Queue()  # at most one for each image, and the end
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._unread: set[int] = set()

    async def __aenter__(self) -> "Previews":
        return self

    async def __aexit__(self, *_: object) -> None:
        under_way = list(self._tasks.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def offer(self, image_index: int, codes: np.ndarray) -> None:
        """Takes the codes of an image so far, int32 [N] with -1 for those to come, and returns at once."""
        if image_index not in self._tasks and image_index not in self._unread:
            self._tasks[image_index] = asyncio.create_task(self._make(image_index, codes))

    async def next(self) -> Preview | None:
        """The next preview, or None at the end."""
        preview = await self._ready.get()
        if preview is not None:
            self._unread.discard(preview.image_index)
        return preview

    def close(self) -> None:
        """Says that no more will be read: `next` gives what is ready, then None."""
        self._ready.put_nowait(None)

    async def _make(self, image_index: int, codes: np.ndarray) -> None:
        try:
            filled, num_codes = fill(codes, self._columns)
            image = await self._decode(filled)
            self._unread.add(image_index)
            self._ready.put_nowait(Preview(image_index=image_index, num_codes=num_codes, image=image))
        except Exception:
            pass  # the decoder is busy, fails or is being replaced; the picture itself will tell of it
        finally:
            del self._tasks[image_index]


def fill(codes: np.ndarray, columns: int) -> tuple[np.ndarray, int]:
    """Completes a picture's codes with its last whole row, so that they can be decoded.

    Args:
      codes: int32 [N], -1 for those to come; at least one row is there.
      columns: codes in a row.

    Returns:
      The codes, none of them -1, and how many of them make whole rows from the top.
    """
    missing = codes < 0
    first_missing = int(missing.argmax()) if missing.any() else codes.size
    num_codes = first_missing // columns * columns
    last_row = codes[num_codes - columns : num_codes]
    return np.where(missing, np.resize(last_row, codes.size), codes), num_codes
