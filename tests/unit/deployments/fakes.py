"""Stages with results to compute by hand, behind handles that look like Serve's.

encode: states are the prompt's length, once; words are the prompt in lower case, tokens its letters. sample: codes are
[seed mod 256, the prompt's length, the negative one's], where none is fixed, each a row of its own. decode: 2×2 images,
all of each its first code. score: the images' values, so that the largest seed mod 256 is the best. tell: the same, in
words.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from model_core.families.conditions import Condition, EncodedPrompt, Grid
from model_core.refine.values import Refined, State

GRID = Grid(3, 1, 256)  # of what these stages draw


class FakeResponse:
    """What `handle.method.remote(...)` returns: started at once, awaited or not, and cancelled by `cancel()` alone."""

    def __init__(self, compute: Callable[..., Any], args: tuple[Any, ...]):
        self.cancelled = False
        self._task = asyncio.ensure_future(self._run(compute, args))

    async def _run(self, compute: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return await compute(*[await arg if isinstance(arg, FakeResponse) else arg for arg in args])

    def __await__(self) -> Any:
        return asyncio.shield(self._task).__await__()

    def cancel(self) -> None:
        if not self._task.done():
            self.cancelled = True
        self._task.cancel()


class FakeStream:
    """What `handle.options(stream=True).method.remote(...)` returns."""

    def __init__(self, items: AsyncIterator[Any]):
        self.cancelled = False
        self._items = items
        self._next: asyncio.Future[Any] | None = None

    def __aiter__(self) -> "FakeStream":
        return self

    async def __anext__(self) -> Any:
        self._next = asyncio.ensure_future(anext(self._items))
        return await asyncio.shield(self._next)

    def cancel(self) -> None:
        self.cancelled = True
        if self._next:
            self._next.cancel()


class FakeStage:
    """A handle and the stage behind it in one.

    Attributes:
      errors: raised by the next calls, one each.
      row_errors: raised by the next streams, one each, after so many items.
      args_given: in all streams so far.
      options_given: by name, in all calls so far.
      delay_s: how long a call takes.
      responses: of all calls so far.
      wakes: set once it is there, where it was away.
      most_running: how many calls ran at the same time.
    """

    def __init__(self, compute: Callable[..., Any]):
        self._compute = compute
        self.errors: list[Exception] = []
        self.row_errors: list[tuple[int, Exception]] = []
        self.args_given: list[tuple[Any, ...]] = []
        self.options_given: list[dict[str, Any]] = []
        self.delay_s = 0.0
        self.responses: list[FakeResponse | FakeStream] = []
        self.times_woken = 0
        self.wakes: asyncio.Event | None = None
        self.running = 0
        self.most_running = 0

    @property
    def encode(self) -> "FakeStage":
        return self

    decode = score = encode

    @property
    def tell(self) -> Any:
        return SimpleNamespace(remote=lambda image: FakeResponse(self._tell, (image,)))

    async def _tell(self, image: np.ndarray) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return f"a picture of {image[0, 0, 0]}"

    @property
    def sample(self) -> Any:
        return SimpleNamespace(remote=self._remote_rows)

    @asynccontextmanager
    async def choose_replica(self) -> AsyncIterator[None]:
        self.times_woken += 1
        if self.wakes is not None:
            await self.wakes.wait()
        yield

    def options(self, *, stream: bool) -> "FakeStage":
        assert stream
        return self

    def remote(self, *args: Any, **options: Any) -> FakeResponse:
        self.options_given.append(options)
        response = FakeResponse(self._call, args)
        self.responses.append(response)
        return response

    def _remote_rows(self, *args: Any, **options: Any) -> FakeStream:
        self.args_given.append(args)
        self.options_given.append(options)
        stream = FakeStream(self._rows(args, **options))
        self.responses.append(stream)
        return stream

    async def _rows(
        self,
        args: tuple[Any, ...],
        rows: list[tuple[int, ...]],
        shown: list[np.ndarray | None],
        fixed_codes: np.ndarray | None,
        **_: Any,
    ) -> AsyncIterator[list[tuple[int, np.ndarray]]]:
        shows = []
        for codes, its_rows, its_shown in zip(await self._call(*args), rows, shown, strict=True):
            codes = codes if fixed_codes is None else np.where(fixed_codes >= 0, fixed_codes, codes)
            known = 0 if its_shown is None else int((its_shown >= 0).sum())
            shows.append(
                [np.where(np.arange(codes.size) < row, codes, -1) for row in its_rows if row > known] + [codes]
            )
        items = [
            [(place, show[step]) for place, show in enumerate(shows) if step < len(show)]
            for step in range(max(map(len, shows)))
        ]
        fails_after, error = self.row_errors.pop(0) if self.row_errors else (len(items), None)
        for item in items[:fails_after]:
            await asyncio.sleep(self.delay_s)
            yield item
        if error:
            raise error

    async def _call(self, *args: Any) -> Any:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.errors:
                raise self.errors.pop(0)
            await asyncio.sleep(self.delay_s)
            return self._compute(*args)
        finally:
            self.running -= 1


class FakeRefiner(FakeStage):
    """A picture's value grows by one with each step, from its first pixel's or, of noise, from 100; its score is that.

    A state's first vector is the value. Pictures are shown at the start and after every second step.
    """

    def __init__(self) -> None:
        super().__init__(lambda *_: None)

    @property
    def refine(self) -> Any:
        return SimpleNamespace(remote=self._remote_rows)

    async def _rows(self, args: tuple[Any, ...], state: State | None, **_: Any) -> AsyncIterator[Refined]:
        refinement, image = args
        await self._call()
        first = 0 if state is None else state.step + 2
        start = int(state.start[0, 0, 0]) if state else 100 if image is None else int(image[0, 0, 0])
        steps = [step for step in range(first, refinement.steps, 2) if step > 0 or state is None]
        if state is None or state.step < refinement.steps:
            steps.append(refinement.steps)
        fails_after, error = self.row_errors.pop(0) if self.row_errors else (len(steps), None)
        for step in steps[:fails_after]:
            await asyncio.sleep(self.delay_s)
            arrays = [np.full((1, 1, 1), value, np.float32) for value in (start + step, 0, 0, start)]
            now = State(step=step, vectors=arrays[0], mean=arrays[1], square=arrays[2], start=arrays[3])
            picture = np.full((*refinement.size, 3), (start + step) % 256, np.uint8)
            yield Refined(image=picture, score=float(start + step), state=now)
        if error:
            raise error


def encoded(prompt: str, negative: str | None) -> EncodedPrompt:
    """What the fake encoder makes of texts."""

    def condition(text: str) -> Condition:
        return Condition(np.full((1, 1), len(text), np.float32), np.ones(1, np.int32))

    uncondition = None if negative is None else condition(negative)
    return EncodedPrompt(condition(prompt), uncondition, prompt.lower(), len(prompt), len(negative or ""))


def drawn(conditions: tuple[Condition, Condition | None], seeds: tuple[int, ...], sampling: Any) -> list[np.ndarray]:
    """The codes of the fake sampler."""
    lengths = [0 if condition is None else condition.values[0, 0] for condition in conditions]
    return [np.array([seed % 256, *lengths], np.int32) for seed in seeds]


def decoded(codes: np.ndarray) -> np.ndarray:
    """The images of the fake decoder."""
    return np.stack([np.full((2, 2, 3), first, np.uint8) for first in codes[:, 0]])


def scored(prompt: str, images: np.ndarray) -> list[float]:
    """The scores of the fake scorer."""
    return [float(image[0, 0, 0]) for image in images]


def fake_stages() -> dict[str, FakeStage]:
    """The four stages by name."""
    return {
        "text_encoder": FakeStage(encoded),
        "token_sampler": FakeStage(drawn),
        "image_decoder": FakeStage(decoded),
        "clip_scorer": FakeStage(scored),
    }
