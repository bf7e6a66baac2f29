"""Things that take memory: loaded when they are asked for, as many as fit; what was used longest ago makes room.

What is in use stays. Where that leaves no room, who waits for something else gets it before more of the same begins.
"""

import asyncio
import gc
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


@dataclass(slots=True, eq=False)
class _Resident(Generic[Thing]):
    thing: Thing
    users: int = 0
    is_leaving: bool = False  # nobody else may use it


class Residents(Generic[Thing]):
    """Things by name, for one event loop.

    Args:
      load: makes one; takes a while, in a thread.
      unload: ends one, in a thread too.
      num_bytes: what each takes.
      max_bytes: what all of them together may take.

    Raises:
      ValueError: one of them alone takes more.
    """

    def __init__(
        self, load: Callable[[str], Thing], unload: Callable[[Thing], None], num_bytes: dict[str, int], max_bytes: int
    ):
        for name, size in num_bytes.items():
            if size > max_bytes:
                raise ValueError(f"{name} takes {size} bytes, more than the {max_bytes} that there are")
        self._load, self._unload = load, unload
        self._num_bytes, self._max_bytes = num_bytes, max_bytes
        self._there: OrderedDict[str, _Resident[Thing]] = OrderedDict()  # what was used longest ago first
        self._waiting: Counter[str] = Counter()
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def things(self) -> dict[str, Thing]:
        """What is loaded."""
        return {name: resident.thing for name, resident in self._there.items()}

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Thing]:
        """Keeps a thing loaded to the end of the block, and waits for it before.

        Raises:
          KeyError: there is none of that name.
          Exception: what loading it raised.
        """
        resident = await self._take(name)
        try:
            yield resident.thing
        finally:
            resident.users -= 1
            self._tell()

    async def _take(self, name: str) -> _Resident[Thing]:
        _ = self._num_bytes[name]
        self._waiting[name] += 1
        try:
            while (resident := self._there.get(name)) is None or resident.is_leaving:
                if (task := self._loading.get(name)) is None:
                    task = self._loading[name] = asyncio.create_task(self._bring(name))
                    task.add_done_callback(lambda task: task.cancelled() or task.exception())  # looked at, if by nobody
                await asyncio.wait({task})
                if not task.cancelled():
                    task.result()  # raises its error
            resident.users += 1
            self._there.move_to_end(name)
            self._tell()
            return resident
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name] and name in self._loading:
                self._loading[name].cancel()  # who wanted it has left

    async def _bring(self, name: str) -> None:
        """Loads a thing, after those that were asked for before, when there is room."""
        try:
            async with self._one_at_a_time:
                if name in self._there:
                    return
                await self._make_room(self._num_bytes[name])
                loading = asyncio.ensure_future(asyncio.to_thread(self._load, name))
                try:
                    thing = await asyncio.shield(loading)
                except asyncio.CancelledError:  # a thread cannot be stopped, and takes its memory to its end
                    thing = await loading
                self._there[name] = _Resident(thing)
        finally:
            del self._loading[name]

    async def _make_room(self, needed: int) -> None:
        """Unloads what was used longest ago, what is idle first, until so many bytes are free."""
        leaving: list[str] = []
        try:
            while True:
                excess = sum(self._num_bytes[name] for name in self._there) + needed - self._max_bytes
                leaving = [name for name in leaving if name in self._there]
                excess_left = excess - sum(self._num_bytes[name] for name in leaving)
                for name in self._by_last_use():
                    if excess_left <= 0:
                        break
                    self._there[name].is_leaving = True
                    leaving.append(name)
                    excess_left -= self._num_bytes[name]
                if excess <= 0:
                    return
                idle = [name for name in leaving if not self._there[name].users]
                for name in idle:
                    thing = self._there.pop(name).thing
                    await asyncio.to_thread(self._unload, thing)
                    del thing
                    await asyncio.to_thread(gc.collect)  # what holds itself, as queues of calls do
                if not idle:
                    self._changed.clear()
                    await self._changed.wait()
        finally:
            for name in leaving:
                if name in self._there:
                    self._there[name].is_leaving = False

    def _by_last_use(self) -> list[str]:
        """What may be made to leave: idle things first, but none that somebody has just had loaded."""
        mine = [name for name, one in self._there.items() if not one.is_leaving]
        idle = [name for name in mine if not self._there[name].users and not self._waiting[name]]
        return idle + [name for name in mine if self._there[name].users]

    def _tell(self) -> None:
        self._changed.set()
